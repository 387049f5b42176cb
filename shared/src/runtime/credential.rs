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

    /// The prefix of reply subjects that an nkey file asks for, in a line `# inbox: PREFIX`, as
    /// `a3s-coordinator init` writes it: a key that may use no other inbox says so itself.
    #[must_use]
    pub fn inbox_prefix(&self) -> Option<String> {
        let Self::NkeyFile(path) = self else {
            return None;
        };
        inbox(&std::fs::read_to_string(path).ok()?)
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

/// What a line of an nkey file begins with that names the prefix of reply subjects.
pub const INBOX_LINE: &str = "# inbox:";

fn inbox(text: &str) -> Option<String> {
    let named = text
        .lines()
        .find_map(|line| line.strip_prefix(INBOX_LINE))?;
    let valid = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let prefix = named.trim();
    (!prefix.is_empty() && prefix.chars().all(valid)).then(|| prefix.to_owned())
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

    #[test]
    fn an_nkey_file_names_its_inbox() {
        let file = "# worker of pool eu\n# inbox: _INBOX_worker-pool-eu\nSU...\n";
        assert_eq!(inbox(file).as_deref(), Some("_INBOX_worker-pool-eu"));
        assert_eq!(inbox("# inbox: two words\n"), None);
        assert_eq!(inbox("SU...\n"), None);
    }
}
