//! Keeps an embedded server alive as long as a coordinator needs it.
//!
//! The server belongs to the coordinator that started it, and ends with it. Another one that
//! joined must not lose its broker by that: it starts the server again, on the same store, port
//! and credential, and every client of the old one, itself included, reconnects. Of several
//! the lock on the store chooses one. The same mends a server that crashed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, Event, connection::State};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::embedded::{Embedded, EmbeddedError};
use super::nats_server::answers;

/// How often a lost server is looked for, and how long between attempts to start it.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long to wait after a start that failed: the reason seldom goes away by itself.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Owns the embedded server of one connection. Dropped, it stops the server soon, at the latest
/// with the runtime; [`Guardian::stop`] waits for it.
#[derive(Debug)]
pub(super) struct Guardian {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Guardian {
    /// Guards `embedded`, to which `client` is connected. Call it inside a tokio runtime.
    pub(super) fn new(
        embedded: Embedded,
        client: Client,
        events: broadcast::Receiver<Event>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(guard(embedded, client, events, stopped));
        Self { stop, task }
    }

    /// Stops the server, if it is this process's, and returns when it is gone.
    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}

async fn guard(
    embedded: Embedded,
    client: Client,
    mut events: broadcast::Receiver<Event>,
    stopped: oneshot::Receiver<()>,
) {
    let mut current = Some(embedded);
    let watch = async {
        loop {
            match events.recv().await {
                Ok(Event::Disconnected) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    restore(&mut current, &client).await;
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        () = watch => {}
        _ = stopped => {} // asked to, or the connection is gone
    }
    if let Some(embedded) = current {
        embedded.stop().await;
    }
}

/// Returns when the client is connected again, after starting the server if that was needed.
async fn restore(current: &mut Option<Embedded>, client: &Client) {
    let Some((url, dir)) = current.as_ref().map(place) else {
        return;
    };
    while client.connection_state() != State::Connected {
        if !answers(&url).await {
            // The lock is ours if the server was: without letting it go we would wait for
            // ourselves.
            drop(current.take());
            match take_over(&url, &dir).await {
                Ok(embedded) => *current = Some(embedded),
                Err(error) => {
                    tracing::error!("the embedded server is gone and cannot be started: {error}");
                    sleep(RETRY_EVERY).await;
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

async fn take_over(url: &str, dir: &Path) -> Result<Embedded, EmbeddedError> {
    let embedded = Embedded::start_or_join(dir).await?;
    if embedded.url() != url {
        tracing::error!(
            "the embedded server moved from {url} to {}, because its port was taken; restart what was connected to it",
            embedded.url()
        );
    }
    if embedded.is_ours() {
        embedded.announce();
    }
    Ok(embedded)
}

fn place(embedded: &Embedded) -> (String, PathBuf) {
    (embedded.url().to_owned(), embedded.dir().to_owned())
}
