//! One delivery of a task: what the broker handed over, and the ways to answer the broker.

use std::time::{Duration, Instant};

use a3s_shared::broker::{Broker, TaskAddress, TaskStream};
use a3s_shared::protocol::{
    DEFAULT_TIMEOUT_MS, Encoding, ExternalTask, TaskBody, TaskHeaders, validate_token,
};
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;

/// How often an answer to the broker is repeated before it is left to the redelivery.
const ANSWER_TRIES: u32 = 3;

/// A delivery whose subject and broker data are understood; its body may still be nonsense.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) address: TaskAddress,
    pub(crate) subject: String,
    pub(crate) headers: TaskHeaders,
    pub(crate) raw_headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) stream: String,
    pub(crate) sequence: u64,
    /// How often the broker has delivered it, this time included.
    pub(crate) delivered: u64,
    /// When the broker stored it, in its time, milliseconds since 1970.
    pub(crate) stored_at_ms: u64,
    pub(crate) received: Instant,
    reply: Subject,
}

/// What the broker is told of a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// Settled: remove it.
    Done,
    /// Not settled: deliver it again after this time.
    Again(Duration),
    /// Still at work on it.
    Working,
}

impl Answer {
    fn text(self) -> Bytes {
        match self {
            Self::Done => Bytes::from_static(b"+ACK"),
            Self::Working => Bytes::from_static(b"+WPI"),
            Self::Again(delay) if delay.is_zero() => Bytes::from_static(b"-NAK"),
            Self::Again(delay) => format!(r#"-NAK {{"delay": {}}}"#, delay.as_nanos()).into(),
        }
    }
}

impl Delivery {
    /// Reads what the broker says of a message. `None` when it is no delivery of a task.
    pub(crate) fn read(broker: &Broker, message: Message) -> Option<Self> {
        let address = broker.names().parse_task(&message.subject)?;
        let reply = message.reply.clone()?;
        let subject = message.subject.to_string();
        let body = message.payload.clone();
        let raw_headers = message.headers.clone().unwrap_or_default();
        let context = broker.jetstream().clone();
        let message = async_nats::jetstream::Message { message, context };
        let info = message.info().ok()?;
        let published = info.published.unix_timestamp_nanos() / 1_000_000;
        Some(Self {
            headers: TaskHeaders::read(|name| {
                raw_headers.get(name).map(async_nats::HeaderValue::as_str)
            }),
            stream: info.stream.to_owned(),
            sequence: info.stream_sequence,
            delivered: u64::try_from(info.delivered).unwrap_or(1).max(1),
            stored_at_ms: u64::try_from(published).unwrap_or_default(),
            received: Instant::now(),
            address,
            subject,
            raw_headers,
            body,
            reply,
        })
    }

    /// The task's id as far as it is known without its body: the message id of our own clients,
    /// else one made from stream and sequence.
    pub(crate) fn fallback_id(&self, broker: &Broker) -> String {
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
    /// Why it can never be run, in words for the dead letter.
    pub(crate) async fn task(&self, broker: &Broker) -> Result<(ExternalTask, Encoding), String> {
        let body = match &self.headers.blob {
            Some(name) => broker.get_blob(name).await.map_err(|e| e.to_string())?,
            None => self.body.clone(),
        };
        let encoding = self.headers.encoding(&body);
        let body: TaskBody = encoding.decode(&body).map_err(|e| e.to_string())?;
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

    /// Tells the broker, and waits for its word that it heard. `false`: it did not answer.
    pub(crate) async fn answer(&self, broker: &Broker, answer: Answer) -> bool {
        for _ in 0..ANSWER_TRIES {
            if self.answer_once(broker, answer).await {
                return true;
            }
        }
        false
    }

    /// As [`Delivery::answer`], without repetition.
    pub(crate) async fn answer_once(&self, broker: &Broker, answer: Answer) -> bool {
        let client = broker.client();
        client
            .request(self.reply.clone(), answer.text())
            .await
            .is_ok()
    }
}
