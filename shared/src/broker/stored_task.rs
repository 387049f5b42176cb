//! A task as its stream holds it: read by the worker that gets it delivered, and by those who
//! clear up after tasks that nobody can finish.

use async_nats::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::Value;

use super::lookup::StoredMessage;
use super::{Broker, BrokerError, TaskAddress, TaskStream};
use crate::protocol::{
    DEFAULT_TIMEOUT_MS, DeadLetter, Encoding, ExternalTask, TaskBody, TaskHeaders, clock,
    validate_token,
};

/// A task's message. Its subject and headers are understood; its body may be nonsense.
#[derive(Debug, Clone)]
pub struct StoredTask {
    /// What its subject says.
    pub address: TaskAddress,
    /// Its subject.
    pub subject: String,
    /// What its headers say.
    pub headers: TaskHeaders,
    /// Its headers as they are.
    pub raw_headers: HeaderMap,
    /// Its body as it is.
    pub body: Bytes,
    /// The stream that holds it.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
    /// When it was stored, in the broker's time, milliseconds since 1970; 0 when unknown.
    pub stored_at_ms: u64,
}

/// The names of headers, and of each the first value: what [`TaskHeaders::read`] reads.
pub fn header_pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .iter()
        .filter_map(|(name, values)| Some((name.as_ref(), values.first()?.as_str())))
}

/// Why a task could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// It can never be run: why, in words for the dead letter.
    #[error("{0}")]
    Never(String),
    /// The broker did not give its large body: another time it may.
    #[error(transparent)]
    NotNow(BrokerError),
}

impl Unread {
    fn of(error: BrokerError) -> Self {
        match error {
            BrokerError::Unreadable { .. } => Self::Never(error.to_string()),
            _ => Self::NotNow(error),
        }
    }
}

impl StoredTask {
    /// Reads a message of a task stream. `None` when its subject is not that of a task.
    #[must_use]
    pub fn read(broker: &Broker, stream: &str, message: StoredMessage) -> Option<Self> {
        let address = broker.names().parse_task(&message.subject)?;
        let headers = TaskHeaders::read(header_pairs(&message.headers));
        Some(Self {
            address,
            headers,
            stored_at_ms: message.stored_at_ms,
            subject: message.subject,
            raw_headers: message.headers,
            body: message.body,
            stream: stream.to_owned(),
            sequence: message.sequence,
        })
    }

    /// The task's id as far as it is known without its body: the one in the subject of its
    /// result, else one made from stream and sequence.
    #[must_use]
    pub fn fallback_id(&self, broker: &Broker) -> String {
        let named = self.headers.reply_to.as_deref().and_then(|subject| {
            let (session, id) = broker.names().session_and_id(subject)?;
            (session == self.address.session).then(|| id.to_owned())
        });
        named
            .filter(|id| validate_token("task id", id).is_ok())
            .unwrap_or_else(|| {
                let own = self.stream == broker.names().tasks(TaskStream::Own);
                format!("{}{}", if own { 'o' } else { 't' }, self.sequence)
            })
    }

    /// Decodes the task.
    ///
    /// # Errors
    /// [`Unread`]: it can never be run, or its body could not be had now.
    pub async fn task(&self, broker: &Broker) -> Result<(ExternalTask, Encoding), Unread> {
        let body = match &self.headers.blob {
            Some(name) => Box::pin(broker.get_blob(name)).await.map_err(Unread::of)?,
            None => self.body.clone(),
        };
        self.decode(broker, &body).map_err(Unread::Never)
    }

    fn decode(&self, broker: &Broker, body: &[u8]) -> Result<(ExternalTask, Encoding), String> {
        let encoding = self.headers.encoding(body);
        let body: TaskBody = encoding.decode(body).map_err(|e| e.to_string())?;
        let TaskAddress { session, lane, .. } = &self.address;
        if let Some(other) = body.session_id.filter(|s| s != session) {
            return Err(format!(
                "session_id {other:?} is not the subject's {session:?}"
            ));
        }
        if let Some(other) = body.lane.filter(|l| l != lane) {
            return Err(format!("lane {other} is not the subject's {lane}"));
        }
        let task_id = body.task_id.unwrap_or_else(|| self.fallback_id(broker));
        validate_token("task id", &task_id).map_err(|e| e.to_string())?;
        let timeout_ms = body.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        let task = ExternalTask {
            task_id,
            session_id: session.clone(),
            lane: *lane,
            command_type: body.command_type,
            payload: body.payload,
            timeout_ms,
            deadline_ms: self.headers.deadline(self.stored_at_ms, timeout_ms),
        };
        Ok((task, encoding))
    }

    /// A dead letter that holds the whole message; what is known beside it is to be filled in.
    #[must_use]
    pub fn dead_letter(&self, task_id: impl Into<String>, error: &str) -> DeadLetter {
        let headers = self.raw_headers.iter().flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.to_string()))
        });
        DeadLetter {
            task_id: task_id.into(),
            session_id: self.address.session.clone(),
            lane: self.address.lane,
            command_type: String::new(),
            error: error.to_owned(),
            attempts: 0,
            failed_at: clock::now_ms(),
            history: Vec::new(),
            payload: Value::Null,
            subject: self.subject.clone(),
            headers: headers.collect(),
            body: BASE64.encode(&self.body),
        }
    }
}
