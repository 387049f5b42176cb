//! One delivery of a task: what the broker handed over, and the ways to answer the broker.

use std::time::{Duration, Instant};

use a3s_shared::broker::{ACK, Broker, Delivered, StoredTask, header_pairs};
use a3s_shared::protocol::TaskHeaders;
use async_nats::{Message, Subject};
use bytes::Bytes;

/// How often the broker is told of a delivery before it is left to the redelivery.
pub(crate) const ANSWER_TRIES: u32 = 3;

/// A delivery whose subject and broker data are understood; its body may still be nonsense.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) stored: StoredTask,
    /// How often the broker has delivered it, this time included.
    pub(crate) delivered: u64,
    pub(crate) received: Instant,
    /// Where the broker hears of it.
    pub(crate) reply: Subject,
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
    /// In the broker's words.
    pub(crate) fn text(self) -> Bytes {
        match self {
            Self::Done => ACK,
            Self::Working => Bytes::from_static(b"+WPI"),
            Self::Again(delay) if delay.is_zero() => Bytes::from_static(b"-NAK"),
            Self::Again(delay) => format!(r#"-NAK {{"delay": {}}}"#, delay.as_nanos()).into(),
        }
    }
}

impl Delivery {
    /// Reads what the broker says of a message. `None` when it is no delivery of a task. Boxed: it
    /// is handed on many times.
    pub(crate) fn read(broker: &Broker, message: Message, received: Instant) -> Option<Box<Self>> {
        let address = broker.names().parse_task(&message.subject)?;
        let reply = message.reply?;
        let told = Delivered::read(&reply)?;
        let raw_headers = message.headers.unwrap_or_default();
        Some(Box::new(Self {
            stored: StoredTask {
                headers: TaskHeaders::read(header_pairs(&raw_headers)),
                stream: told.stream.to_owned(),
                sequence: told.sequence,
                stored_at_ms: told.stored_at_ms,
                address,
                subject: message.subject.as_str().to_owned(),
                raw_headers,
                body: message.payload,
            },
            delivered: told.times.max(1),
            received,
            reply,
        }))
    }

    /// As [`tell`], of this delivery.
    pub(crate) async fn answer(&self, broker: &Broker, answer: Answer) -> bool {
        tell(broker, &self.reply, answer).await
    }
}

/// Tells the broker of a delivery, and waits for its word that it heard. `false`: it did not answer.
pub(crate) async fn tell(broker: &Broker, reply: &Subject, answer: Answer) -> bool {
    for _ in 0..ANSWER_TRIES {
        if broker.acknowledge(reply, answer.text()).await {
            return true;
        }
    }
    false
}
