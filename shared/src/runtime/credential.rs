//! Who we are to the broker. Secrets never reach a log: `Debug` and `Display` leave them out.

use std::fmt;
use std::path::{Path, PathBuf};

/// What a client shows to the server.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credential {
    /// Nothing.
    #[default]
    None,
    /// A credentials file with a JWT and a seed, as `nsc` makes them.
    CredsFile(PathBuf),
    /// A file with an nkey seed.
    NkeyFile(PathBuf),
    /// A name and a password.
    UserPassword {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token.
    Token(String),
}

impl Credential {
    /// What a name and a password mean. A name alone is a token, as with the `nats` CLI.
    #[must_use]
    pub fn from_user(user: String, password: Option<String>) -> Self {
        match password {
            Some(password) => Self::UserPassword { user, password },
            None => Self::Token(user),
        }
    }

    /// This credential, or `other` when this one is nothing.
    #[must_use]
    pub fn or(self, other: impl FnOnce() -> Self) -> Self {
        if self == Self::None { other() } else { self }
    }

    /// Adds this credential to the options of a connection.
    ///
    /// # Errors
    /// When a file cannot be read or holds no key; the text names it.
    pub async fn apply(
        &self,
        options: async_nats::ConnectOptions,
    ) -> Result<async_nats::ConnectOptions, CredentialError> {
        let failed = |path: &PathBuf| {
            let path = path.clone();
            move |source| CredentialError { path, source }
        };
        Ok(match self {
            Self::None => options,
            Self::CredsFile(path) => {
                let options = options.credentials_file(path).await;
                options.map_err(failed(path))?
            }
            Self::NkeyFile(path) => {
                let text = tokio::fs::read_to_string(path)
                    .await
                    .map_err(failed(path))?;
                options.nkey(seed(&text).ok_or_else(|| no_seed(path))?.to_owned())
            }
            Self::UserPassword { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
            Self::Token(token) => options.token(token.clone()),
        })
    }
}

/// A credential's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the credential in {path}: {source}")]
pub struct CredentialError {
    path: PathBuf,
    source: std::io::Error,
}

impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "no credential"),
            Self::CredsFile(path) => write!(f, "credentials file {}", path.display()),
            Self::NkeyFile(path) => write!(f, "nkey file {}", path.display()),
            Self::UserPassword { user, .. } => write!(f, "user {user:?} and a password"),
            Self::Token(_) => write!(f, "a token"),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({self})")
    }
}

/// The seed in an nkey file, which may carry comments and headers around it.
fn seed(text: &str) -> Option<&str> {
    text.lines()
        .map(str::trim)
        .find(|line| line.starts_with('S') && line.len() > 50)
}

fn no_seed(path: &Path) -> CredentialError {
    let source = std::io::Error::other("no line of it is an nkey seed (SU…)");
    CredentialError {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        let user = Credential::from_user("ann".into(), Some("s3cret".into()));
        let token = Credential::from_user("s3cret".into(), None);
        for credential in [user, token] {
            let printed = format!("{credential} {credential:?}");
            assert!(!printed.contains("s3cret"), "{printed}");
        }
    }

    #[test]
    fn a_seed_is_found_among_comments() {
        let seed_line = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
        let file = format!("# mine\n{seed_line}\n");
        assert_eq!(seed(&file), Some(seed_line));
        assert_eq!(seed("nothing here"), None);
    }
}
