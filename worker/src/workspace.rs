//! The directory that tools may touch.

use std::path::{Path, PathBuf};

/// A directory; every path of a task is inside it.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Opens `root`.
    ///
    /// # Errors
    /// When it does not exist or is no directory.
    pub fn open(root: &Path) -> std::io::Result<Self> {
        Ok(Self {
            root: root.canonicalize()?,
        })
    }

    /// Its absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}
