//! A task's own directory: HOME and TMPDIR of its programs, gone when they are.

use std::path::Path;

use tempfile::TempDir;

/// A directory that only one task's programs know.
#[derive(Debug)]
pub(crate) struct Home(Option<TempDir>);

impl Home {
    /// A new one, where temporary files are on this machine.
    ///
    /// # Errors
    /// When none can be made.
    pub(super) fn make() -> std::io::Result<Self> {
        let made = tempfile::Builder::new().prefix("a3s-task-").tempdir()?;
        Ok(Self(Some(made)))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new("/"), TempDir::path)
    }
}

impl Drop for Home {
    /// Removes it beside the runtime: a build may have left thousands of files.
    fn drop(&mut self) {
        let Some(directory) = self.0.take() else {
            return;
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(directory))),
            Err(_) => drop(directory),
        }
    }
}
