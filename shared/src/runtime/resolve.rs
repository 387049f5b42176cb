//! Which server a process uses when it is told, and when it is not.
//!
//! Without an address: a server that answers on 127.0.0.1:4222; else a living embedded server;
//! else a coordinator starts one, and a worker is told what to do.

use std::fmt;

use async_nats::ServerAddr;

use super::connect::ConnectError;
use super::credential::Credential;
use super::embedded::Embedded;
use super::nats_server::answers;
use super::options::{ConnectOptions, Settings};

/// Where a server of the machine's owner is looked for.
const LOCAL: &str = "nats://127.0.0.1:4222";

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The name of the connection, as `nats server report connections` shows it.
    pub name: String,
    /// Whether this process may start an embedded server.
    pub may_embed: bool,
}

impl Role {
    /// A coordinator: it may start an embedded server.
    #[must_use]
    pub fn coordinator(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            may_embed: true,
        }
    }

    /// A worker: it only joins.
    #[must_use]
    pub fn worker(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            may_embed: false,
        }
    }
}

/// How a server was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The user named it.
    Given,
    /// It answered on 127.0.0.1:4222.
    Local,
    /// This process started it, and it ends with this process.
    Embedded,
    /// Another process of this user started it, and it ends with that one.
    Joined,
}

/// The server of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Where {
    /// Its address, or several with commas; without secrets.
    pub url: String,
    /// How it was found.
    pub origin: Origin,
}

impl Where {
    /// Whether it is an embedded server, ours or another coordinator's.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        matches!(self.origin, Origin::Embedded | Origin::Joined)
    }
}

impl fmt::Display for Where {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let embedded = if self.is_embedded() {
            " (embedded)"
        } else {
            ""
        };
        write!(f, "{}{embedded}", self.url)
    }
}

/// A server, how to address it, and who we are to it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Where,
    pub(super) servers: Vec<ServerAddr>,
    pub(super) credential: Credential,
    /// Present when the server is embedded; owns its process when we started it.
    pub(super) embedded: Option<Embedded>,
}

/// Finds the server for these options, starting one where that is allowed.
pub(super) async fn resolve(
    options: &ConnectOptions,
    settings: &Settings,
    role: &Role,
) -> Result<Found, ConnectError> {
    if !options.embedded && !settings.urls.is_empty() {
        return given(&settings.urls, settings.credential.clone(), Origin::Given);
    }
    if !options.embedded && answers(LOCAL).await {
        return given(
            &[LOCAL.to_owned()],
            settings.credential.clone(),
            Origin::Local,
        );
    }
    if options.no_embedded {
        return Err(ConnectError::NoServer {
            tried: LOCAL.to_owned(),
        });
    }
    embedded(options, role).await
}

async fn embedded(options: &ConnectOptions, role: &Role) -> Result<Found, ConnectError> {
    let dir = options.embedded_dir().ok_or(ConnectError::NoStateDir)?;
    let embedded = if role.may_embed {
        Embedded::start_or_join(&dir).await?
    } else {
        let nobody = || ConnectError::NoServer {
            tried: format!("{LOCAL} and for an embedded server in {}", dir.display()),
        };
        Embedded::join(&dir).await.ok_or_else(nobody)?
    };
    let origin = if embedded.is_ours() {
        Origin::Embedded
    } else {
        Origin::Joined
    };
    let found = given(&[embedded.url().to_owned()], embedded.credential(), origin)?;
    Ok(Found {
        embedded: Some(embedded),
        ..found
    })
}

fn given(urls: &[String], known: Credential, origin: Origin) -> Result<Found, ConnectError> {
    let servers = urls
        .iter()
        .map(|url| parse(url))
        .collect::<Result<Vec<_>, _>>()?;
    let url = servers
        .iter()
        .map(without_secret)
        .collect::<Vec<_>>()
        .join(",");
    let credential = known.or(|| servers.iter().find_map(in_url).unwrap_or_default());
    let place = Where { url, origin };
    Ok(Found {
        place,
        servers,
        credential,
        embedded: None,
    })
}

fn parse(url: &str) -> Result<ServerAddr, ConnectError> {
    // The text itself is not shown: it may hold a password.
    url.parse()
        .map_err(|source| ConnectError::BadUrl { source })
}

fn without_secret(server: &ServerAddr) -> String {
    format!("{}://{}:{}", server.scheme(), server.host(), server.port())
}

/// async-nats takes no credential from an address, so that is done here.
fn in_url(server: &ServerAddr) -> Option<Credential> {
    let user = server.username()?.to_owned();
    let password = server.password().map(str::to_owned);
    Some(Credential::from_user(user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_used_and_not_shown() {
        let urls = ["nats://ann:s3cret@example.org:4333".to_owned()];
        let found = given(&urls, Credential::None, Origin::Given).expect("a valid address");
        assert_eq!(found.place.to_string(), "nats://example.org:4333");
        let credential = Credential::from_user("ann".into(), Some("s3cret".into()));
        assert_eq!(found.credential, credential);
    }

    #[test]
    fn an_option_goes_before_an_address() {
        let urls = ["nats://ann:s3cret@example.org".to_owned()];
        let token = Credential::Token("t".into());
        let found = given(&urls, token.clone(), Origin::Given).expect("a valid address");
        assert_eq!(found.credential, token);
    }
}
