//! Results: the first one stored for a task is the only one.

use std::mem;

use async_nats::{HeaderMap, Subscriber};
use bytes::Bytes;
use futures::StreamExt;

use super::publish::{Outgoing, PublishError, Stored};
use super::{Answer, BLOB_THRESHOLD, Broker, BrokerError, header_pairs, templates};
use crate::protocol::signature::BodyDigest;
use crate::protocol::{Encoding, TaskResult, headers};

/// A result that is written, and not stored yet.
#[derive(Debug)]
pub struct PreparedResult {
    outgoing: Outgoing,
    /// Whether it was published, and may be there.
    tried: bool,
}

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
        self.next_answer().await.map(|answer| answer.result)
    }

    /// As [`ResultFeed::next`], with what its signature says.
    pub async fn next_answer(&mut self) -> Option<Answer> {
        loop {
            let message = self.subscriber.next().await?;
            let headers = message.headers.unwrap_or_default();
            let checked = self.broker.signatures().trust.is_some();
            let place = || self.broker.names().session_and_id(&message.subject);
            let place = checked.then(place).flatten();
            let read = self.broker.read_answer(&headers, message.payload, place);
            match read.await {
                Ok(answer) => return Some(answer),
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
        self.publish_answer(result, encoding, None).await
    }

    /// As [`Broker::publish_result`]; where this process has a key, signed as the answer to the task
    /// whose message has the signature `answers`.
    ///
    /// # Errors
    /// As [`Broker::publish_result`].
    pub async fn publish_answer(
        &self,
        result: &TaskResult,
        encoding: Encoding,
        answers: Option<&str>,
    ) -> Result<Stored, BrokerError> {
        let body = encoding.encode(result);
        let prepared = self.prepare_result(result, encoding, body, answers);
        let mut prepared = prepared.await?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.store_result(&mut prepared, result).await {
                Err(PublishError::Unknown { .. }) if tries < TRIES => {}
                stored => return Ok(stored?),
            }
        }
    }

    /// Makes a message of a result and its body in `encoding`, so that [`Broker::store_result`] can
    /// store it. A body over [`BLOB_THRESHOLD`] is stored here, which takes a while.
    ///
    /// # Errors
    /// When a large body could not be stored.
    pub async fn prepare_result(
        &self,
        result: &TaskResult,
        encoding: Encoding,
        mut body: Vec<u8>,
        answers: Option<&str>,
    ) -> Result<PreparedResult, BrokerError> {
        let subject = self.names().result(&result.session_id, &result.task_id);
        let mut headers = Vec::new();
        let mut blob = None;
        if body.len() > BLOB_THRESHOLD {
            let (body, owner) = (mem::take(&mut body), format!("{}-result", result.task_id));
            let name = Box::pin(self.put_blob(body, &owner)).await?;
            headers.push((headers::BLOB, name.clone()));
            blob = Some(name);
        }
        let digest = || match blob.as_deref().and_then(BodyDigest::of_blob) {
            Some(digest) => digest,
            None => BodyDigest::of(&body),
        };
        let content_type = encoding.content_type();
        let pair = self.signature_of_result(result, &subject, content_type, answers, digest);
        if let Some(pair) = pair {
            headers.extend(pair);
            headers.extend(answers.map(|text| (headers::ANSWERS, text.to_owned())));
        }
        Ok(PreparedResult {
            outgoing: Outgoing {
                subject,
                common: templates::of_results(encoding),
                headers,
                body: body.into(),
                ..Outgoing::default()
            },
            tried: false,
        })
    }

    /// Publishes a result once. The first one wins at the broker; our own result, stored by a try
    /// whose answer was lost, counts as first.
    ///
    /// # Errors
    /// [`PublishError`]: after `Unknown` it may be stored or not, and calling it again finds out.
    pub async fn store_result(
        &self,
        prepared: &mut PreparedResult,
        result: &TaskResult,
    ) -> Result<Stored, PublishError> {
        let tried = mem::replace(&mut prepared.tried, true);
        match self.publish_first(&prepared.outgoing).await {
            Ok(Stored::AlreadyThere) if tried => {
                let ours = Box::pin(self.is_ours(result)).await;
                ours.map_err(|error| PublishError::Unknown {
                    subject: prepared.outgoing.subject.clone(),
                    reason: error.to_string(),
                })
            }
            stored => stored,
        }
    }

    async fn is_ours(&self, result: &TaskResult) -> Result<Stored, BrokerError> {
        let stored = match self.result(&result.session_id, &result.task_id).await {
            // Who may not read it cannot know; there is one, and that is what matters.
            Err(error) if error.is_denied() => None,
            stored => stored?,
        };
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
        let answer = self.answer(session, task_id).await?;
        Ok(answer.map(|answer| answer.result))
    }

    /// As [`Broker::result`], with what its signature says.
    ///
    /// # Errors
    /// As [`Broker::result`].
    pub async fn answer(
        &self,
        session: &str,
        task_id: &str,
    ) -> Result<Option<Answer>, BrokerError> {
        let subject = self.names().result(session, task_id);
        let Some(found) = self.last(&self.names().results(), &subject).await? else {
            return Ok(None);
        };
        let place = Some((session, task_id));
        let answer = self.read_answer(&found.headers, found.body, place).await?;
        Ok(Some(answer))
    }

    /// Whether a task has a result. Cheaper than reading it, and possible without the right to.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn has_result(&self, session: &str, task_id: &str) -> Result<bool, BrokerError> {
        let subject = self.names().result(session, task_id);
        match self.last(&self.names().results(), &subject).await {
            Ok(found) => Ok(found.is_some()),
            Err(error) if error.is_denied() => {
                Box::pin(self.holds(&subject, &self.names().no_result())).await
            }
            Err(error) => Err(error),
        }
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

    /// Decodes a result message. What is not believed, where results are checked, is replaced by a
    /// result that says so.
    ///
    /// # Errors
    /// When its large body is gone, or it cannot be read.
    pub async fn read_result(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<TaskResult, BrokerError> {
        let answer = self.read_answer(headers, body, None).await?;
        Ok(answer.result)
    }

    /// As [`Broker::read_result`]; `place` is the session and the task of the subject it is from.
    pub(super) async fn read_answer(
        &self,
        headers: &HeaderMap,
        body: Bytes,
        place: Option<(&str, &str)>,
    ) -> Result<Answer, BrokerError> {
        let (mut blob, mut content_type) = (None, None);
        // In one pass: to look one up costs more than to see them all.
        for (name, value) in header_pairs(headers) {
            match name {
                headers::BLOB => blob = Some(value),
                headers::CONTENT_TYPE => content_type = Some(value),
                _ => {}
            }
        }
        let body = match blob {
            // Boxed, as all that is rare on the way of every task: futures are moved about.
            Some(name) => Box::pin(self.get_blob(name)).await?,
            None => body,
        };
        let encoding = Encoding::of(content_type, &body);
        let result: Result<TaskResult, _> = encoding.decode(&body);
        let checked = self.signatures().trust.is_some();
        let result = match (result, place) {
            (Ok(result), _) if !checked => return Ok(Answer::unchecked(result)),
            (Ok(result), _) => result,
            (Err(_), Some(place)) if checked => return Ok(self.no_result(place)),
            (Err(error), _) => return Err(BrokerError::unreadable("read a result", error)),
        };
        let own = (result.session_id.clone(), result.task_id.clone());
        let place = place.unwrap_or((&own.0, &own.1));
        Ok(Box::pin(self.believe(result, place, headers, &body)).await)
    }
}
