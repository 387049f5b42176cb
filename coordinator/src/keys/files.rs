//! Writes an installation's files: all of them, and over none that is there.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read what everybody may know.
const PLAIN: u32 = 0o644;
/// Who may read a secret: its owner.
const SECRET: u32 = 0o600;
/// Who may look into directories of secrets.
const PRIVATE: u32 = 0o700;

/// A file to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Where, in the installation's directory.
    pub(crate) path: String,
    /// What is in it.
    pub(crate) text: String,
    /// Whether nobody else may read it.
    pub(crate) secret: bool,
}

/// Why nothing was written, or not all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// One is there already. Nothing was written.
    #[error(
        "{} is there already, and nothing was written: choose another directory, or remove it \
         (whoever uses its keys is locked out then)",
        .0.display()
    )]
    Exists(PathBuf),
    /// The disk refuses.
    #[error("cannot write {}: {source}", .path.display())]
    Io {
        /// What was to be written.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
}

impl File {
    /// One that everybody may read.
    pub(crate) fn plain(path: String, text: String) -> Self {
        Self {
            path,
            text,
            secret: false,
        }
    }

    /// One that its owner alone may read.
    pub(crate) fn secret(path: String, text: String) -> Self {
        Self {
            path,
            text,
            secret: true,
        }
    }

    fn write(&self, dir: &Path) -> Result<(), FilesError> {
        let path = dir.join(&self.path);
        let failed = |source: io::Error| match source.kind() {
            // Somebody else was quicker, between our look and now.
            io::ErrorKind::AlreadyExists => FilesError::Exists(path.clone()),
            _ => FilesError::Io {
                path: path.clone(),
                source,
            },
        };
        if let Some(parent) = path.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(PRIVATE);
            builder.create(parent).map_err(failed)?;
        }
        let mode = if self.secret { SECRET } else { PLAIN };
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(mode).open(&path);
        file.and_then(|mut file| file.write_all(self.text.as_bytes()))
            .map_err(failed)
    }
}

/// Writes `files` into `dir`, which is made if need be.
///
/// # Errors
/// [`FilesError::Exists`] before anything is written; [`FilesError::Io`] may leave some behind.
pub(crate) fn write(dir: &Path, files: &[File]) -> Result<(), FilesError> {
    for file in files {
        let path = dir.join(&file.path);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(FilesError::Exists(path));
        }
    }
    files.iter().try_for_each(|file| file.write(dir))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_is_there_keeps_all_others_from_being_written() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = [
            File::plain("a".into(), "new".into()),
            File::secret("keys/b".into(), "new".into()),
        ];
        fs::create_dir(dir.path().join("keys")).expect("a directory");
        fs::write(dir.path().join("keys/b"), "old").expect("a file");
        let error = write(dir.path(), &files).expect_err("one is there");
        assert!(
            error.to_string().contains("keys/b is there already"),
            "{error}"
        );
        assert!(!dir.path().join("a").exists(), "nothing was written");
        let kept = fs::read_to_string(dir.path().join("keys/b"));
        assert_eq!(kept.expect("it is readable"), "old");
    }

    #[test]
    fn a_secret_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let files = [File::secret("keys/b".into(), "x".into())];
        write(dir.path(), &files).expect("it is written");
        let mode = |path: &str| {
            let metadata = fs::metadata(dir.path().join(path)).expect("it is there");
            metadata.permissions().mode() & 0o777
        };
        assert_eq!((mode("keys"), mode("keys/b")), (0o700, 0o600));
    }
}
