//! How our clients differ from the library's defaults, and what they log.

use std::time::Duration;

use async_nats::Event;
use tokio::sync::broadcast;

use super::connect_error::{ConnectError, may_not};
use super::credential::Credential;
use super::denials::{Denials, Denied};
use super::options::{ConnectOptions, Settings};
use super::resolve::{Found, Role};

/// How often an idle connection is probed; two silent probes end it. The library's minute would
/// leave a half-open connection unnoticed for two.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Longest pause between two attempts to reconnect, before jitter takes up to half of it.
const RECONNECT_PAUSE: Duration = Duration::from_secs(4);

/// The library's options for this connection; its events go to the log and to
/// `events`, and what the broker denies to `denials`.
pub(super) async fn client_options(
    options: &ConnectOptions,
    settings: &Settings,
    found: &Found,
    role: &Role,
    (events, denials): (broadcast::Sender<Event>, Denials),
) -> Result<async_nats::ConnectOptions, ConnectError> {
    let who = found.credential.clone();
    let mut how = async_nats::ConnectOptions::new()
        .name(&role.name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(options.connect_timeout)
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| pause(attempt, rand::random()))
        .event_callback(move |event| {
            match denied(&event) {
                Some(denied) => report(&denied, &denials, &who),
                None => log(&event),
            }
            let _ = events.send(event); // nobody may be listening yet
            std::future::ready(())
        });
    let told = settings.inbox_prefix.clone();
    if let Some(prefix) = told.or_else(|| found.credential.inbox_prefix()) {
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

fn denied(event: &Event) -> Option<Denied> {
    match event {
        Event::ServerError(error) => Denied::read(error),
        _ => None,
    }
}

/// A denial is told to whoever waits for an answer, and logged when nobody does.
fn report(denied: &Denied, denials: &Denials, who: &Credential) {
    if denials.tell(denied) {
        tracing::warn!("{}", may_not(who, denied));
    }
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
}
