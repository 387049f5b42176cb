//! Events: told, never awaited, never kept by us.

use async_nats::{Client, Subscriber};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{Broker, BrokerError};
use crate::protocol::{Encoding, Event};

/// Events that wait to be told. What is beyond it is dropped: nothing depends on an event.
const WAITING: usize = 4_096;

/// Where events wait for the one task that tells them.
#[derive(Debug, Clone)]
pub(super) struct Outbox(mpsc::Sender<(String, Event)>);

impl Outbox {
    pub(super) fn start(client: Client) -> Self {
        let (sender, mut receiver) = mpsc::channel::<(String, Event)>(WAITING);
        tokio::spawn(async move {
            while let Some((subject, event)) = receiver.recv().await {
                let body = Encoding::Json.encode(&event);
                if client.publish(subject, body.into()).await.is_err() {
                    return;
                }
            }
        });
        Self(sender)
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventFeed(Subscriber);

impl EventFeed {
    /// The next event; `None` when the connection is closed. What cannot be read is passed over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let message = self.0.next().await?;
            if let Ok(event) = Encoding::Json.decode(&message.payload) {
                return Some(event);
            }
        }
    }
}

impl Broker {
    /// Tells an event. Returns at once; an event that cannot be told now is dropped.
    pub fn emit(&self, event: Event) {
        let subject = self.names().event(&event.session_id, event.kind.id());
        let _ = self.events.0.try_send((subject, event));
    }

    /// Listens to the events of a session, or of all with `None`.
    ///
    /// # Errors
    /// When the connection is closed or the broker does not answer.
    pub async fn subscribe_events(&self, session: Option<&str>) -> Result<EventFeed, BrokerError> {
        let subject = self.names().event(session.unwrap_or("*"), ">");
        let what = format!("listen to {subject}");
        let feed = self.client().subscribe(subject).await;
        let feed = feed.map_err(|e| BrokerError::unreachable(&what, e))?;
        self.client()
            .flush()
            .await
            .map_err(|e| BrokerError::unreachable(&what, e))?;
        Ok(EventFeed(feed))
    }
}
