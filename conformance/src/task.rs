//! A task as a stranger would publish it: subject, headers and body spelt out.

use a3s_shared::broker::BLOB_THRESHOLD;
use a3s_shared::protocol::{Effect, Encoding, SessionLane, Token, clock};
use anyhow::Result;
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::rig::Rig;

/// The session of tasks that name none.
pub const SESSION: &str = "conf";

/// A task to submit. What is `None` is left out of the message.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// Its session.
    pub session: &'static str,
    /// Its lane.
    pub lane: SessionLane,
    /// Its tool.
    pub command: &'static str,
    /// The tool's input.
    pub payload: Value,
    /// How its body is written.
    pub encoding: Encoding,
    /// `timeout_ms`, and the deadline from now.
    pub timeout_ms: u64,
    /// `A3s-Deadline`, absolute. Default: now and `timeout_ms`.
    pub deadline_ms: Option<u64>,
    /// `A3s-Effect`.
    pub effect: Option<Effect>,
    /// `A3s-Max-Attempts`.
    pub attempts: Option<u32>,
    /// `A3s-Retry-Delay`.
    pub delay: Option<&'static str>,
}

impl Task {
    /// An idempotent task of the Query lane, in JSON, with two minutes and a new id.
    #[must_use]
    pub fn new(command: &'static str, payload: Value) -> Self {
        Self {
            id: Token::unique().into(),
            session: SESSION,
            lane: SessionLane::Query,
            command,
            payload,
            encoding: Encoding::Json,
            timeout_ms: 120_000,
            deadline_ms: Some(clock::now_ms() + 120_000),
            effect: Some(Effect::Idempotent),
            attempts: None,
            delay: None,
        }
    }

    /// A task that leaves a trace in `file` and takes `ms`.
    #[must_use]
    pub fn count(file: &str, ms: u64) -> Self {
        Self::new("count", json!({ "file": file, "ms": ms }))
    }

    /// The same on another lane.
    #[must_use]
    pub fn on(self, lane: SessionLane) -> Self {
        Self { lane, ..self }
    }

    /// The same, never to be started twice.
    #[must_use]
    pub fn once(self) -> Self {
        let effect = Some(Effect::Once);
        Self { effect, ..self }
    }

    /// The same with a number of attempts, soon after each other.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self {
            attempts: Some(attempts),
            delay: Some("fixed:50"),
            ..self
        }
    }

    /// The same with so much time, from now.
    #[must_use]
    pub fn within(self, timeout_ms: u64) -> Self {
        Self {
            timeout_ms,
            deadline_ms: Some(clock::now_ms() + timeout_ms),
            ..self
        }
    }

    fn body(&self) -> Vec<u8> {
        self.encoding.encode(&json!({
            "task_id": self.id, "session_id": self.session, "lane": self.lane,
            "command_type": self.command, "payload": self.payload, "timeout_ms": self.timeout_ms,
        }))
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let (session, id) = (self.session, &self.id);
        let mut headers = vec![
            ("Nats-Msg-Id", format!("{session}.{id}")),
            ("A3s-Reply-To", format!("a3s.{session}.result.{id}")),
            ("Content-Type", self.encoding.content_type().to_owned()),
        ];
        let mut add = |name, value: Option<String>| {
            headers.extend(value.map(|value| (name, value)));
        };
        add("A3s-Deadline", self.deadline_ms.map(|ms| ms.to_string()));
        add("A3s-Effect", self.effect.map(|effect| effect.to_string()));
        add("A3s-Max-Attempts", self.attempts.map(|n| n.to_string()));
        add("A3s-Retry-Delay", self.delay.map(str::to_owned));
        headers
    }
}

impl Rig {
    /// Publishes a task to the pool `default` and returns its id.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub async fn submit(&self, task: Task) -> Result<String> {
        let subject = format!("a3s.{}.{}", task.session, task.lane.id());
        self.submit_to(&subject, task).await
    }

    /// Publishes a task to any subject; a large body by way of the object store.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub async fn submit_to(&self, subject: &str, task: Task) -> Result<String> {
        let (mut headers, mut body) = (task.headers(), task.body());
        if body.len() > BLOB_THRESHOLD {
            headers.push((
                "A3s-Blob",
                self.broker.put_blob(body.clone(), &task.id).await?,
            ));
            body.clear();
        }
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.publish(subject, &headers, body).await?;
        Ok(task.id)
    }

    /// Publishes any message to a stream and returns its sequence.
    ///
    /// # Errors
    /// When the broker does not accept it.
    pub async fn publish(
        &self,
        subject: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<u64> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let jetstream = self.broker.jetstream();
        let sent = jetstream.publish_with_headers(subject.to_owned(), map, body.into());
        Ok(sent.await?.await?.sequence)
    }
}
