//! The wish that a task ends: durable, and seen at once by whoever runs it.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, push};
use futures::StreamExt;
use tokio::time::sleep;

use super::publish::Outgoing;
use super::records::{TTL, ttl};
use super::{Broker, BrokerError};
use crate::protocol::{CancelMarker, Encoding};

/// The wait before a broken watch is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// A task that somebody wants to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    /// Its session.
    pub session: String,
    /// The task.
    pub task_id: String,
    /// Why and since when.
    pub marker: CancelMarker,
}

/// Every cancel marker that is kept, then every new one. Never ends: it opens itself again.
pub struct CancelFeed {
    broker: Broker,
    filter: String,
    messages: Option<push::Ordered>,
}

impl CancelFeed {
    /// The next marker.
    pub async fn next(&mut self) -> Cancelled {
        loop {
            let Some(messages) = &mut self.messages else {
                match self.broker.open_cancels(&self.filter).await {
                    Ok(messages) => self.messages = Some(messages),
                    Err(error) => {
                        tracing::debug!(%error, "the watch on cancel markers is not open");
                        sleep(REOPEN_AFTER).await;
                    }
                }
                continue;
            };
            let Some(Ok(message)) = messages.next().await else {
                self.messages = None;
                continue;
            };
            let names = self.broker.names();
            if let Some((session, task_id)) = names.session_and_id(&message.subject) {
                return Cancelled {
                    session: session.to_owned(),
                    task_id: task_id.to_owned(),
                    marker: Encoding::Json.decode(&message.payload).unwrap_or_default(),
                };
            }
        }
    }
}

impl Broker {
    /// Marks a task as cancelled, durably: a worker that runs it hears of it now, one that gets
    /// it later does not start it. The marker goes an hour after `deadline_ms`.
    ///
    /// # Errors
    /// When it was not confirmed.
    pub async fn cancel(
        &self,
        session: &str,
        task_id: &str,
        marker: &CancelMarker,
        deadline_ms: u64,
    ) -> Result<(), BrokerError> {
        let outgoing = Outgoing {
            subject: self.names().cancel(session, task_id),
            headers: vec![(TTL, ttl(deadline_ms))],
            body: Encoding::Json.encode(marker).into(),
            expected_last: None,
        };
        self.publish(&outgoing).await?;
        Ok(())
    }

    /// Whether a task is marked as cancelled.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn is_cancelled(
        &self,
        session: &str,
        task_id: &str,
    ) -> Result<Option<CancelMarker>, BrokerError> {
        let subject = self.names().cancel(session, task_id);
        let found = self.last(&self.names().cancels(), &subject).await?;
        Ok(found.map(|m| Encoding::Json.decode(&m.body).unwrap_or_default()))
    }

    /// Follows the cancel markers of a session, or of all with `None`.
    #[must_use]
    pub fn watch_cancels(&self, session: Option<&str>) -> CancelFeed {
        CancelFeed {
            broker: self.clone(),
            filter: self.names().cancel(session.unwrap_or("*"), "*"),
            messages: None,
        }
    }

    async fn open_cancels(&self, filter: &str) -> Result<push::Ordered, BrokerError> {
        let what = format!("watch {filter}");
        let stream = self.stream_handle(&self.names().cancels(), &what).await?;
        let config = push::OrderedConfig {
            deliver_subject: self.client().new_inbox(),
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ..push::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await;
        let consumer = consumer.map_err(|e| BrokerError::unreachable(&what, e))?;
        let messages = consumer.messages().await;
        messages.map_err(|e| BrokerError::unreachable(what, e))
    }
}
