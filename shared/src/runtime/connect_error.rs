//! Why there is no connection, and what its reader can do about it.

use std::error::Error;

use async_nats::{ConnectErrorKind, rustls};

use super::context_file::ContextError;
use super::credential::{Credential, CredentialError};
use super::denials::Denied;
use super::embedded::EmbeddedError;
use super::resolve::Found;
use super::version::VersionError;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No address was given and nothing was found.
    #[error(
        "no server on {tried}; start one with `a3s-coordinator serve`, or name one with --nats-url (NATS_URL)"
    )]
    NoServer {
        /// Where was looked.
        tried: String,
    },
    /// The server cannot be reached.
    #[error(
        "no server answers on {url}: {reason}; start one with `a3s-coordinator serve`, or correct --nats-url (NATS_URL)"
    )]
    Unreachable {
        /// The address.
        url: String,
        /// What the network said.
        reason: String,
    },
    /// The server refuses who we are.
    #[error(
        "the server on {url} refused {credential}; give another with --creds, --nkey, --user or --context (`a3s-coordinator env` prints those of an embedded server)"
    )]
    Unauthorized {
        /// The address.
        url: String,
        /// What was shown to it.
        credential: Credential,
    },
    /// TLS failed.
    #[error(
        "TLS with the server on {url} failed: {reason}; check --tls-ca, --tls-cert and --tls-key"
    )]
    Tls {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The server's version loses dead letters.
    #[error("the server on {url} cannot be used: {source}; --embedded starts another beside it")]
    Version {
        /// The address.
        url: String,
        /// Which version it is, and which is needed.
        source: VersionError,
    },
    /// An address cannot be read. It is not shown, because it may hold a password.
    #[error(
        "an address in --nats-url (NATS_URL) cannot be read: {source}; expected nats://host:port"
    )]
    BadUrl {
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// There is no place for an embedded server's store.
    #[error(
        "no home directory to keep the embedded server's store in; set A3S_STATE_DIR, or name a server with --nats-url (NATS_URL)"
    )]
    NoStateDir,
    /// The embedded server did not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// The credential cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

impl ConnectError {
    /// Whether the same attempt may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::NoServer { .. } | Self::Unreachable { .. })
    }
}

/// What the library's error means for the user.
pub(super) fn explain(error: &async_nats::ConnectError, found: &Found) -> ConnectError {
    let url = found.place.url.clone();
    let reason = error.to_string();
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            let credential = found.credential.clone();
            ConnectError::Unauthorized { url, credential }
        }
        ConnectErrorKind::Tls => ConnectError::Tls { url, reason },
        _ if is_handshake(error) => ConnectError::Tls { url, reason },
        _ => ConnectError::Unreachable { url, reason },
    }
}

/// What a denial means for whoever started this program.
pub(super) fn may_not(who: &Credential, denied: &Denied) -> String {
    format!(
        "{who} may not {denied}; use a credential that may (`a3s-coordinator doctor` shows what \
         this one can do), or change its permissions in the server's configuration"
    )
}

/// Whether TLS was refused during the handshake, which the library reports as an I/O error.
fn is_handshake(error: &async_nats::ConnectError) -> bool {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    io.and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>())
}
