//! One connection to the broker: made with a bound, kept for ever, its events told to all.

use std::error::Error;
use std::net::IpAddr;
use std::time::Duration;

use async_nats::{ConnectErrorKind, Event, ServerAddr, jetstream, rustls};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};

use super::context_file::ContextError;
use super::credential::{Credential, CredentialError};
use super::embedded::EmbeddedError;
use super::guardian::Guardian;
use super::options::{ConnectOptions, Settings};
use super::resolve::{Found, Role, Where, resolve};
use super::version::{self, VersionError};

/// How often an idle connection is probed; two silent probes end it. The library's minute would
/// leave a half-open connection unnoticed for two.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to reconnect, before jitter takes up to half of it.
const RECONNECT_PAUSE: Duration = Duration::from_secs(4);

/// Events that a slow listener may lag behind before it misses some. They are rare.
const EVENTS_KEPT: usize = 64;

/// How often a process that waits for its server says so.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Pause between two attempts while waiting for a server.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// How long `close` waits for what is still to be sent.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

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

/// A connection. It reconnects for ever; an embedded server that this process started ends
/// with it, whoever still holds a clone of the client.
#[derive(Debug)]
pub struct Connection {
    /// The client, to clone at will.
    pub client: async_nats::Client,
    /// The server.
    pub server: Where,
    /// The JetStream domain to work in; `None` is the server's own.
    pub js_domain: Option<String>,
    /// The first token of all subjects.
    pub prefix: String,
    pub(super) credential: Credential,
    pub(super) settings: Settings,
    events: broadcast::Sender<Event>,
    guardian: Option<Guardian>,
}

impl Connection {
    /// What happens to the connection from now on: `Connected` (again), `Disconnected`,
    /// `LameDuckMode`, `SlowConsumer`, `ServerError` and so on. Armed pulls do not survive a
    /// reconnect: re-arm them on `Connected`.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// JetStream in this connection's domain.
    #[must_use]
    pub fn jetstream(&self) -> jetstream::Context {
        match &self.js_domain {
            Some(domain) => jetstream::with_domain(self.client.clone(), domain),
            None => jetstream::new(self.client.clone()),
        }
    }

    /// The first tokens of JetStream's API subjects: `$JS.API`, or `$JS.<domain>.API`.
    #[must_use]
    pub fn js_api_prefix(&self) -> String {
        match &self.js_domain {
            Some(domain) => format!("$JS.{domain}.API"),
            None => "$JS.API".to_owned(),
        }
    }

    /// Sends what is left, closes, and stops the embedded server if this process started it.
    /// Takes five seconds at most, and ten more for a server that will not stop.
    pub async fn close(self) {
        let mut events = self.events();
        let farewell = async {
            // `drain` alone only queues the request: what was published could stay behind.
            let _ = self.client.flush().await;
            let _ = self.client.drain().await;
            while events
                .recv()
                .await
                .is_ok_and(|event| event != Event::Closed)
            {}
        };
        let _ = timeout(CLOSED_WITHIN, farewell).await;
        if let Some(guardian) = self.guardian {
            guardian.stop().await;
        }
    }
}

/// Connects as the options say; the module [`super::resolve`] tells what no options mean.
///
/// # Errors
/// [`ConnectError`], after [`ConnectOptions::connect_timeout`] at most (an embedded server with
/// a large store may take longer). With `wait_for_server` only for what waiting cannot mend.
pub async fn connect(options: &ConnectOptions, role: &Role) -> Result<Connection, ConnectError> {
    let settings = options.settings()?;
    let mut said: Option<Instant> = None;
    loop {
        let error = match attempt(options, &settings, role).await {
            Err(error) if options.wait_for_server && error.is_transient() => error,
            outcome => return outcome,
        };
        if said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            tracing::warn!("waiting for a server: {error}");
            said = Some(Instant::now());
        }
        sleep(RETRY_EVERY).await;
    }
}

async fn attempt(
    options: &ConnectOptions,
    settings: &Settings,
    role: &Role,
) -> Result<Connection, ConnectError> {
    let found = resolve(options, settings, role).await?;
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let how = client_options(options, settings, &found, role, events.clone()).await?;
    let url = found.place.url.clone();
    let client = match timeout(options.connect_timeout, how.connect(&found.servers[..])).await {
        Ok(outcome) => outcome.map_err(|error| explain(&error, &found))?,
        Err(_) => {
            let reason = format!("no answer within {:?}", options.connect_timeout);
            return Err(ConnectError::Unreachable { url, reason });
        }
    };
    let info = client.server_info();
    version::accept(&info.version).map_err(|source| ConnectError::Version { url, source })?;
    if is_open(&found, info.tls_required) {
        let url = &found.place.url;
        tracing::warn!(
            "{url} asks for no credential and no TLS: whoever reaches it can run commands on the workers"
        );
    }
    let mine = found.embedded.filter(|_| role.may_embed);
    if let Some(started) = mine.as_ref().filter(|embedded| embedded.is_ours()) {
        started.announce();
    }
    let guard = |embedded| Guardian::new(embedded, client.clone(), events.subscribe());
    let guardian = mine.map(guard);
    Ok(Connection {
        client,
        server: found.place,
        js_domain: settings.js_domain.clone(),
        prefix: options.prefix.clone(),
        credential: found.credential,
        settings: settings.clone(),
        events,
        guardian,
    })
}

async fn client_options(
    options: &ConnectOptions,
    settings: &Settings,
    found: &Found,
    role: &Role,
    events: broadcast::Sender<Event>,
) -> Result<async_nats::ConnectOptions, ConnectError> {
    let mut how = async_nats::ConnectOptions::new()
        .name(&role.name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(options.connect_timeout)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| pause(attempt, rand::random()))
        .event_callback(move |event| {
            log(&event);
            let _ = events.send(event); // nobody may be listening yet
            std::future::ready(())
        });
    if let Some(prefix) = &settings.inbox_prefix {
        how = how.custom_inbox_prefix(prefix);
    }
    if let Some(ca) = &settings.tls_ca {
        how = how.add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) {
        how = how.add_client_certificate(cert.clone(), key.clone());
    }
    if settings.tls_first {
        how = how.tls_first();
    }
    Ok(found.credential.apply(how).await?)
}

/// The pause before an attempt to connect. The first attempt, which is also the first of a new
/// process, waits for nothing; later ones double up to [`RECONNECT_PAUSE`]. Jitter takes away up
/// to a half, so that a fleet does not come back in one moment.
fn pause(attempt: usize, random: f64) -> Duration {
    let doubled = match u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX) {
        0 => Duration::ZERO,
        n => Duration::from_millis(50).saturating_mul(1 << n.min(10)),
    };
    doubled.min(RECONNECT_PAUSE).mul_f64(1.0 - random / 2.0)
}

fn explain(error: &async_nats::ConnectError, found: &Found) -> ConnectError {
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

/// Whether TLS was refused during the handshake, which the library reports as an I/O error.
fn is_handshake(error: &async_nats::ConnectError) -> bool {
    let io = error
        .source()
        .and_then(|source| source.downcast_ref::<std::io::Error>());
    io.and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Whether anybody on the network can use this server.
fn is_open(found: &Found, tls: bool) -> bool {
    let secured = tls || found.credential != Credential::None;
    !secured
        && found
            .servers
            .iter()
            .any(|server| !server.tls_required() && !is_loopback(server))
}

fn is_loopback(server: &ServerAddr) -> bool {
    let host = server.host().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::debug!("connected to the broker"),
        Event::Disconnected => tracing::warn!("lost the connection to the broker, reconnecting"),
        Event::LameDuckMode => tracing::warn!("the broker is about to stop"),
        Event::SlowConsumer(id) => {
            tracing::warn!("subscription {id} is too slow, messages were dropped");
        }
        Event::ServerError(error) => tracing::warn!("the broker reports an error: {error}"),
        Event::ClientError(error) => tracing::warn!("the connection reports an error: {error}"),
        Event::Draining | Event::Closed => tracing::debug!("connection: {event}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_attempt_waits_for_nothing_and_later_ones_never_beyond_the_cap() {
        assert_eq!(pause(1, 0.0), Duration::ZERO);
        assert_eq!(pause(2, 0.0), Duration::from_millis(100));
        for attempt in [8, 50, usize::MAX] {
            assert_eq!(pause(attempt, 0.0), RECONNECT_PAUSE);
            assert_eq!(pause(attempt, 1.0), RECONNECT_PAUSE / 2);
        }
    }

    #[test]
    fn only_loopback_is_closed_to_the_network() {
        for (url, loopback) in [
            ("127.0.0.1", true),
            ("localhost:4333", true),
            ("nats://[::1]:4222", true),
            ("nats://10.0.0.1:4222", false),
            ("nats://nats:4222", false),
        ] {
            let server: ServerAddr = url.parse().expect(url);
            assert_eq!(is_loopback(&server), loopback, "{url}");
        }
    }
}
