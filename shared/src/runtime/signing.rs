//! The files of signatures: the key that signs, and the list of keys that are trusted.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::paths;
use crate::protocol::signature::{KeyError, Role, SigningKey, TrustError, TrustList};

/// The permissions of others to a key's file, of which it may have none.
const OTHERS: u32 = 0o007;

/// The key that signs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Signatures")]
pub struct SigningOptions {
    /// Sign with the key in this file, an nkey seed (SU…) [default: ~/.config/a3s/signing.nk, if it
    /// is there]
    #[arg(long, global = true, value_name = "FILE", env = "A3S_SIGNING_KEY")]
    pub signing_key: Option<PathBuf>,
}

/// A key or a trust list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Everybody on this machine can sign with the key.
    #[error("others can read or change the key in {path}: run chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no key.
    #[error("cannot sign with {path}: {source}")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: KeyError,
    },
    /// The file is no trust list.
    #[error("cannot use the trust list {path}: {source}")]
    Trust {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TrustError,
    },
    /// Results are to be checked, and this process's own would not be believed by others.
    #[error(
        "a list of trusted workers needs a key too: this process answers for workers that do not, \
         and signs that; add --signing-key FILE"
    )]
    NoKey,
}

impl SigningOptions {
    /// The key's file: the one that was named, or the default one if it is there.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let default = || paths::config_dir().map(|dir| dir.join("signing.nk"));
        let named = self.signing_key.clone();
        named.or_else(|| default().filter(|path| path.exists()))
    }

    /// The key; `None` when none was named and there is no default one.
    ///
    /// # Errors
    /// [`SigningError`], which names the file.
    pub fn key(&self) -> Result<Option<Arc<SigningKey>>, SigningError> {
        let Some(path) = self.path() else {
            return Ok(None);
        };
        read_key(&path).map(|key| Some(Arc::new(key)))
    }
}

/// Reads a key's file.
///
/// # Errors
/// When it cannot be read, others can, or it holds no user's seed.
pub fn read_key(path: &Path) -> Result<SigningKey, SigningError> {
    let path = || path.to_owned();
    let unreadable = |source| SigningError::Unreadable {
        path: path(),
        source,
    };
    let mode = std::fs::metadata(path()).map_err(unreadable)?.mode();
    if mode & OTHERS != 0 {
        return Err(SigningError::Open { path: path() });
    }
    let text = std::fs::read_to_string(path()).map_err(unreadable)?;
    SigningKey::from_text(&text).map_err(|source| SigningError::Key {
        path: path(),
        source,
    })
}

/// Reads a list of trusted keys. `role`: what it is for.
///
/// # Errors
/// When it cannot be read, says what nobody knows, or trusts nobody in that role.
pub fn read_trust(path: &Path, role: Role) -> Result<Arc<TrustList>, SigningError> {
    let text = std::fs::read_to_string(path).map_err(|source| SigningError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let list = TrustList::parse(&text, role).map_err(|source| SigningError::Trust {
        path: path.to_owned(),
        source,
    })?;
    Ok(Arc::new(list))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let seed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        std::fs::write(file.path(), seed).expect("it is written");
        let with = |mode| {
            std::fs::set_permissions(file.path(), Permissions::from_mode(mode)).expect("a mode");
            read_key(file.path())
        };
        assert!(with(0o600).is_ok());
        let error = with(0o604).expect_err("others can read it").to_string();
        assert!(error.contains("chmod 600"), "{error}");
        assert!(!error.contains(seed), "{error}");
    }
}
