//! Reads a context of the `nats` CLI, by name and only when asked: a context that somebody
//! selected for another purpose must not decide where tasks run.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::credential::Credential;
use super::paths;

/// A context as the `nats` CLI writes it. Empty text means that nothing was said.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Context {
    /// Servers, separated by commas.
    pub url: String,
    token: String,
    user: String,
    password: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    jetstream_domain: String,
    inbox_prefix: String,
    tls_first: bool,
    nsc: String,
    user_jwt: String,
    socks_proxy: String,
    jetstream_api_prefix: String,
}

/// Why a context cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// There is no such file, or it cannot be read.
    #[error(
        "cannot read the nats context {name:?} at {path}: {source}; `nats context ls` shows those there are"
    )]
    Unreadable {
        /// The context that was asked for.
        name: String,
        /// Where it was looked for.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The file is no context.
    #[error("the nats context {name:?} at {path} is no valid JSON: {source}")]
    Invalid {
        /// The context that was asked for.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// It uses something that this program does not do. Saying nothing would connect otherwise
    /// than the user believes.
    #[error(
        "the nats context {name:?} uses {setting:?}, which is not supported; use `creds` or another context"
    )]
    Unsupported {
        /// The context that was asked for.
        name: String,
        /// The setting in it.
        setting: &'static str,
    },
    /// The name is a path, or there is no home directory to look into.
    #[error("no nats context can be found by the name {0:?}")]
    NoSuchName(String),
}

impl Context {
    /// Reads the context called `name` from where the `nats` CLI keeps them.
    ///
    /// # Errors
    /// [`ContextError`]
    pub fn load(name: &str) -> Result<Self, ContextError> {
        let no_such = || ContextError::NoSuchName(name.to_owned());
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            return Err(no_such());
        }
        Self::load_from(&paths::nats_context_dir().ok_or_else(no_such)?, name)
    }

    fn load_from(dir: &Path, name: &str) -> Result<Self, ContextError> {
        let path = dir.join(format!("{name}.json"));
        let name = name.to_owned();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) => return Err(ContextError::Unreadable { name, path, source }),
        };
        let context: Self = match serde_json::from_slice(&text) {
            Ok(context) => context,
            Err(source) => return Err(ContextError::Invalid { name, path, source }),
        };
        match context.unsupported() {
            Some(setting) => Err(ContextError::Unsupported { name, setting }),
            None => Ok(context),
        }
    }

    fn unsupported(&self) -> Option<&'static str> {
        let used = [
            ("nsc", &self.nsc),
            ("user_jwt", &self.user_jwt),
            ("socks_proxy", &self.socks_proxy),
            ("jetstream_api_prefix", &self.jetstream_api_prefix),
        ];
        used.into_iter()
            .find(|(_, value)| !value.is_empty())
            .map(|(setting, _)| setting)
    }

    /// Who the context says we are.
    #[must_use]
    pub fn credential(&self) -> Credential {
        if let Some(creds) = file(&self.creds) {
            Credential::CredsFile(creds)
        } else if let Some(nkey) = file(&self.nkey) {
            Credential::NkeyFile(nkey)
        } else if let Some(user) = said(&self.user) {
            Credential::from_user(user, said(&self.password))
        } else {
            said(&self.token).map_or(Credential::None, Credential::Token)
        }
    }

    /// The files for TLS: authority, certificate, key.
    #[must_use]
    pub fn tls(&self) -> (Option<PathBuf>, Option<PathBuf>, Option<PathBuf>) {
        (file(&self.ca), file(&self.cert), file(&self.key))
    }

    /// Whether TLS starts before the server's greeting.
    #[must_use]
    pub fn tls_first(&self) -> bool {
        self.tls_first
    }

    /// The JetStream domain.
    #[must_use]
    pub fn js_domain(&self) -> Option<String> {
        said(&self.jetstream_domain)
    }

    /// The prefix of reply subjects.
    #[must_use]
    pub fn inbox_prefix(&self) -> Option<String> {
        said(&self.inbox_prefix)
    }
}

fn said(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| paths::expand_home(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(json: &str) -> Result<Context, ContextError> {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("ours.json"), json).expect("the context is written");
        Context::load_from(dir.path(), "ours")
    }

    #[test]
    fn a_context_written_by_the_nats_cli_is_understood() {
        let context = load(
            r#"{"description":"", "url":"nats://a:4222,nats://b:4222", "token":"", "user":"ann",
                "password":"pw", "creds":"", "nkey":"", "ca":"/ca.pem", "cert":"", "key":"",
                "jetstream_domain":"hub", "inbox_prefix":"", "tls_first":false, "nsc":""}"#,
        )
        .expect("it is valid");
        let credential = Credential::from_user("ann".into(), Some("pw".into()));
        assert_eq!(context.credential(), credential);
        assert_eq!(context.tls().0, Some(PathBuf::from("/ca.pem")));
        assert_eq!(context.js_domain().as_deref(), Some("hub"));
        assert_eq!(context.inbox_prefix(), None);
    }

    #[test]
    fn what_is_not_supported_is_refused_and_not_ignored() {
        let refused = load(r#"{"socks_proxy":"socks5://x"}"#)
            .err()
            .expect("it is refused");
        assert!(refused.to_string().contains("\"socks_proxy\""), "{refused}");
    }

    #[test]
    fn a_name_cannot_leave_the_context_directory() {
        for name in ["", "../secret", "a/b", ".hidden"] {
            let refused = Context::load(name).err();
            assert!(
                matches!(refused, Some(ContextError::NoSuchName(_))),
                "{name}"
            );
        }
    }
}
