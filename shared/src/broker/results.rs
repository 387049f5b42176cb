//! Results: the first one stored for a task is the only one.

use std::mem;

use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt;

use super::publish::{Outgoing, PublishError, Stored};
use super::{BLOB_THRESHOLD, Broker, BrokerError};
use crate::protocol::{Encoding, TaskResult, headers};

/// How often a result without an answer is published again before the caller hears of it.
const TRIES: u32 = 3;

/// The results of a session as they are stored, each once. Nothing is kept for who is away: after
/// a reconnect, ask [`Broker::result`] for what is outstanding.
#[derive(Debug)]
pub struct ResultFeed {
    broker: Broker,
    subscriber: Subscriber,
}

impl ResultFeed {
    /// The next stored result; `None` when the connection is closed for good. What cannot be
    /// read is logged and passed over.
    pub async fn next(&mut self) -> Option<TaskResult> {
        loop {
            let message = self.subscriber.next().await?;
            let headers = message.headers.unwrap_or_default();
            match self.broker.read_result(&headers, message.payload).await {
                Ok(result) => return Some(result),
                Err(error) => {
                    let subject = message.subject.as_str();
                    tracing::warn!(subject, %error, "a result cannot be read");
                }
            }
        }
    }
}

impl Broker {
    /// Publishes a task's result, in the task's encoding. The first one wins at the broker; our
    /// own result, stored by a try whose answer was lost, counts as first.
    ///
    /// # Errors
    /// When it was not confirmed after three tries: it may be stored or not.
    pub async fn publish_result(
        &self,
        result: &TaskResult,
        encoding: Encoding,
    ) -> Result<Stored, BrokerError> {
        let subject = self.names().result(&result.session_id, &result.task_id);
        let mut body = encoding.encode(result);
        let mut headers = vec![(headers::CONTENT_TYPE, encoding.content_type().to_owned())];
        if body.len() > BLOB_THRESHOLD {
            let (body, owner) = (mem::take(&mut body), format!("{}-result", result.task_id));
            let name = Box::pin(self.put_blob(body, &owner)).await?;
            headers.push((headers::BLOB, name));
        }
        let outgoing = Outgoing {
            subject,
            headers,
            body: body.into(),
            expected_last: Some(0),
        };
        let mut tries = 0;
        loop {
            tries += 1;
            match self.publish_first(&outgoing).await {
                Ok(Stored::AlreadyThere) if tries > 1 => {
                    return Box::pin(self.is_ours(result)).await;
                }
                Ok(stored) => return Ok(stored),
                Err(PublishError::Unknown { .. }) if tries < TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn is_ours(&self, result: &TaskResult) -> Result<Stored, BrokerError> {
        let stored = self.result(&result.session_id, &result.task_id).await?;
        let ours = stored.is_some_and(|s| {
            s.worker_id == result.worker_id && s.started_at_ms == result.started_at_ms
        });
        Ok(if ours {
            Stored::First
        } else {
            Stored::AlreadyThere
        })
    }

    /// The result of a task, `None` when there is none (yet, or any more: they are kept a day).
    ///
    /// # Errors
    /// When the broker does not answer, or what is stored cannot be read.
    pub async fn result(
        &self,
        session: &str,
        task_id: &str,
    ) -> Result<Option<TaskResult>, BrokerError> {
        let subject = self.names().result(session, task_id);
        match self.last(&self.names().results(), &subject).await? {
            None => Ok(None),
            Some(found) => self.read_result(&found.headers, found.body).await.map(Some),
        }
    }

    /// Whether a task has a result. Cheaper than reading it.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn has_result(&self, session: &str, task_id: &str) -> Result<bool, BrokerError> {
        let subject = self.names().result(session, task_id);
        Ok(self
            .last(&self.names().results(), &subject)
            .await?
            .is_some())
    }

    /// Removes a task's result, so that a replay can have one.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn forget_result(&self, session: &str, task_id: &str) -> Result<(), BrokerError> {
        let stream = self.names().results();
        let subject = self.names().result(session, task_id);
        if let Some(found) = self.last(&stream, &subject).await? {
            self.remove(&stream, found.sequence).await?;
        }
        Ok(())
    }

    /// Listens to the results of a session from now on: a result stored after this returned
    /// arrives. `*` listens to all sessions.
    ///
    /// # Errors
    /// When the connection is closed or the broker does not answer.
    pub async fn subscribe_results(&self, session: &str) -> Result<ResultFeed, BrokerError> {
        let subject = self.names().done(session, "*");
        let what = format!("listen to {subject}");
        let subscriber = self.client().subscribe(subject).await;
        let subscriber = subscriber.map_err(|e| BrokerError::unreachable(&what, e))?;
        self.client()
            .flush()
            .await
            .map_err(|e| BrokerError::unreachable(&what, e))?;
        let broker = self.clone();
        Ok(ResultFeed { broker, subscriber })
    }

    /// Decodes a result message.
    ///
    /// # Errors
    /// When its large body is gone, or it cannot be read.
    pub async fn read_result(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<TaskResult, BrokerError> {
        let text = |name| headers.get(name).map(async_nats::HeaderValue::as_str);
        let body = match text(headers::BLOB) {
            // Boxed, as all that is rare on the way of every task: futures are moved about.
            Some(name) => Box::pin(self.get_blob(name)).await?,
            None => body,
        };
        let encoding = Encoding::of(text(headers::CONTENT_TYPE), &body);
        let result = encoding.decode(&body);
        result.map_err(|e| BrokerError::unreadable("read a result", e))
    }
}
