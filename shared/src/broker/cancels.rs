//! The wish that a task ends: durable, and seen at once by whoever runs it.

use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use futures::StreamExt;
use tokio::time::{sleep, timeout};

use super::publish::Outgoing;
use super::records::{TTL, ttl};
use super::{Broker, BrokerError, Names, REQUEST_TIMEOUT, mentions};
use crate::protocol::{CancelMarker, Encoding, Token};

/// The wait before a broken watch is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// The wait before a watch that was not permitted is tried again: somebody has to change that.
const DENIED_AFTER: Duration = Duration::from_secs(30);

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
    stream: String,
    filter: String,
    messages: Option<push::Ordered>,
}

impl CancelFeed {
    /// Opens it now, which [`next`](Self::next) does too but says nothing when it cannot, and
    /// returns the markers that are kept: all, unless they take more than five seconds.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn open(&mut self) -> Result<Vec<Cancelled>, BrokerError> {
        let (mut messages, there) = self.broker.follow(&self.stream, &self.filter).await?;
        let (mut kept, names) = (Vec::new(), self.broker.names());
        let mut left = there;
        let read = async {
            while left > 0
                && let Some(Ok(message)) = messages.next().await
            {
                // Some go by their age before they are delivered.
                left = message.info().map_or(0, |info| info.pending);
                kept.extend(read(names, &message));
            }
        };
        let _ = timeout(REQUEST_TIMEOUT, read).await;
        self.messages = Some(messages);
        Ok(kept)
    }

    /// The next marker.
    pub async fn next(&mut self) -> Cancelled {
        loop {
            let Some(messages) = &mut self.messages else {
                match self.broker.follow(&self.stream, &self.filter).await {
                    Ok((messages, _)) => self.messages = Some(messages),
                    Err(error) => {
                        tracing::debug!(%error, "the watch on cancel markers is not open");
                        let denied = error.is_denied();
                        sleep(if denied { DENIED_AFTER } else { REOPEN_AFTER }).await;
                    }
                }
                continue;
            };
            let Some(Ok(message)) = messages.next().await else {
                self.messages = None;
                continue;
            };
            if let Some(cancelled) = read(self.broker.names(), &message) {
                return cancelled;
            }
        }
    }
}

fn read(names: &Names, message: &Message) -> Option<Cancelled> {
    let (session, task_id) = names.session_and_id(&message.subject)?;
    Some(Cancelled {
        session: session.to_owned(),
        task_id: task_id.to_owned(),
        marker: Encoding::Json.decode(&message.payload).unwrap_or_default(),
    })
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
            ..Outgoing::default()
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
            stream: self.names().cancels(),
            filter: self.names().cancel(session.unwrap_or("*"), "*"),
            messages: None,
        }
    }

    /// What a stream holds and gets on the subjects of `filter`, in order, and how many messages
    /// it held at first. The request names filter and consumer in its subject, so permissions can
    /// tell who may follow what.
    pub(super) async fn follow(
        &self,
        stream: &str,
        filter: &str,
    ) -> Result<(push::Ordered, u64), BrokerError> {
        let what = format!("follow {filter}");
        let handle = self.stream_handle(stream, &what).await?;
        let name = format!("follow-{}", Token::unique());
        let config = push::OrderedConfig {
            name: Some(name.clone()),
            deliver_subject: self.client().new_inbox(),
            filter_subject: filter.to_owned(),
            deliver_policy: DeliverPolicy::All,
            ..push::OrderedConfig::default()
        };
        let open = async {
            let consumer = handle.create_consumer(config).await;
            let consumer = consumer.map_err(|e| BrokerError::unreachable(&what, e))?;
            let there = consumer.cached_info().num_pending;
            let messages = consumer.messages().await;
            let messages = messages.map_err(|e| BrokerError::unreachable(&what, e))?;
            Ok((messages, there))
        };
        self.unless_denied(&what, mentions(name), open).await
    }
}
