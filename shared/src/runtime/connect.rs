//! One connection to the broker: made with a bound, kept for ever, its events told to all.

use std::net::IpAddr;
use std::time::Duration;

use async_nats::{Event, ServerAddr, jetstream};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, timeout};

use super::client::client_options;
use super::connect_error::explain;
use super::credential::Credential;
use super::denials::Denials;
use super::guardian::Guardian;
use super::options::{ConnectOptions, Settings};
use super::resolve::{Found, Role, Where, resolve};
use super::version;

pub use super::connect_error::ConnectError;

/// Events that a slow listener may lag behind before it misses some. They are rare.
const EVENTS_KEPT: usize = 64;

/// How often a process that waits for its server says so.
const SAY_EVERY: Duration = Duration::from_secs(5);

/// Pause between two attempts while waiting for a server.
const RETRY_EVERY: Duration = Duration::from_millis(500);

/// How long `close` waits for what is still to be sent.
const CLOSED_WITHIN: Duration = Duration::from_secs(5);

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
    denials: Denials,
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

    /// What the broker does not permit us from now on.
    #[must_use]
    pub fn denials(&self) -> Denials {
        self.denials.clone()
    }

    /// Who we are to the broker.
    #[must_use]
    pub fn credential(&self) -> &Credential {
        &self.credential
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
    let denials = Denials::default();
    let told = (events.clone(), denials.clone());
    let how = client_options(options, settings, &found, role, told).await?;
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
        denials,
        guardian,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

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
