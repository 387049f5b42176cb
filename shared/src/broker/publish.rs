//! Publishing to a stream, confirmed by the broker.

use std::borrow::Cow;

use async_nats::{HeaderMap, HeaderName};
use bytes::Bytes;
use serde::Deserialize;

use super::Broker;
use super::requests::Unanswered;

/// The publish counts only if its subject's last message has this sequence; 0: has none.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";

/// The broker's codes for "the subject's last message is another one".
const WRONG_LAST_SEQUENCE: [u64; 2] = [10071, 10164];

/// The broker's code for "not stored", for any reason. Only its text tells a subject that has its
/// one message already from a stream that is full, and to take the one for the other loses what
/// was published.
const NOT_STORED: u64 = 10077;
const ONE_A_SUBJECT: &str = "per subject";

/// A message for a stream.
#[derive(Debug, Clone, Default)]
pub struct Outgoing {
    /// Where to.
    pub subject: String,
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Bytes,
    /// Store it only if the last message of its subject has this sequence (0: there is none).
    pub expected_last: Option<u64>,
}

impl Outgoing {
    fn header_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in &self.headers {
            map.insert(HeaderName::from_static(name), value.as_str());
        }
        if let Some(sequence) = self.expected_last {
            map.insert(HeaderName::from_static(EXPECTED_LAST), sequence.to_string());
        }
        map
    }
}

/// The broker's word that a message is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PubAck {
    /// The stream.
    pub stream: String,
    /// Its sequence there.
    pub sequence: u64,
    /// Whether a message of the same id had been stored before, and this one was not.
    pub duplicate: bool,
}

/// Whether a message that may exist once was stored now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is the first.
    First,
    /// There was one before; this one was refused.
    AlreadyThere,
}

/// A publish that was not confirmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The condition of [`Outgoing::expected_last`] or of the stream does not hold.
    #[error("{0}: there is one already")]
    Exists(String),
    /// Larger than the server takes in a message.
    #[error("{subject}: {size} bytes are more than the server's max_payload of {max}")]
    TooLarge {
        /// Where to.
        subject: String,
        /// How large it is.
        size: usize,
        /// The server's limit.
        max: usize,
    },
    /// No stream holds this subject, or JetStream is away.
    #[error("{0}: no stream takes it; is JetStream enabled, and was a coordinator started once?")]
    NoStream(String),
    /// The stream refused it: it is full, for example.
    #[error("{subject}: the broker refused: {reason}")]
    Refused {
        /// Where to.
        subject: String,
        /// What it said.
        reason: String,
    },
    /// No answer in time. It may be stored or not: publish again with the same id to find out.
    #[error("{subject}: no answer from the broker ({reason}), it may be stored or not")]
    Unknown {
        /// Where to.
        subject: String,
        /// Why there is none.
        reason: String,
    },
}

/// What the broker answers to a publish: with an error, or with the fields of a [`PubAck`]. (Not
/// an untagged enum: those are read twice, and every task has two.)
#[derive(Deserialize)]
struct Answer<'a> {
    error: Option<ApiError>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    seq: Option<u64>,
    #[serde(default)]
    duplicate: bool,
}

/// An error of the JetStream API.
#[derive(Debug, Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl ApiError {
    fn says_exists(&self) -> bool {
        WRONG_LAST_SEQUENCE.contains(&self.err_code)
            || (self.err_code == NOT_STORED && self.description.contains(ONE_A_SUBJECT))
    }
}

impl Broker {
    /// Publishes and waits for the broker's word, up to five seconds.
    ///
    /// # Errors
    /// [`PublishError`]; only `Unknown` leaves open whether the message is stored.
    pub async fn publish(&self, outgoing: &Outgoing) -> Result<PubAck, PublishError> {
        let Outgoing { subject, body, .. } = outgoing;
        let answer = self
            .requests
            .ask(subject.as_str(), outgoing.header_map(), body.clone());
        match answer.await {
            Ok(answer) => read_answer(subject, &answer.payload),
            Err(Unanswered::NoResponders) => Err(PublishError::NoStream(subject.clone())),
            Err(Unanswered::TooLarge) => Err(PublishError::TooLarge {
                subject: subject.clone(),
                size: body.len(),
                max: self.client().max_payload(),
            }),
            Err(Unanswered::Unknown(reason)) => Err(PublishError::Unknown {
                subject: subject.clone(),
                reason,
            }),
        }
    }

    /// As [`Broker::publish`], for a message that may exist once.
    pub(super) async fn publish_first(&self, outgoing: &Outgoing) -> Result<Stored, PublishError> {
        match self.publish(outgoing).await {
            Ok(ack) if ack.duplicate => Ok(Stored::AlreadyThere),
            Ok(_) => Ok(Stored::First),
            Err(PublishError::Exists(_)) => Ok(Stored::AlreadyThere),
            Err(error) => Err(error),
        }
    }
}

fn read_answer(subject: &str, answer: &[u8]) -> Result<PubAck, PublishError> {
    let subject = || subject.to_owned();
    let answer: Answer<'_> = match serde_json::from_slice(answer) {
        Ok(answer) => answer,
        Err(error) => {
            return Err(PublishError::Unknown {
                subject: subject(),
                reason: error.to_string(),
            });
        }
    };
    match answer {
        Answer {
            error: Some(error), ..
        } if error.says_exists() => Err(PublishError::Exists(subject())),
        Answer {
            error: Some(error), ..
        } => Err(PublishError::Refused {
            subject: subject(),
            reason: format!("{} ({})", error.description, error.err_code),
        }),
        Answer {
            stream: Some(stream),
            seq: Some(sequence),
            duplicate,
            ..
        } => Ok(PubAck {
            stream: stream.into_owned(),
            sequence,
            duplicate,
        }),
        Answer { .. } => Err(PublishError::Unknown {
            subject: subject(),
            reason: "an answer that says neither stream and sequence nor an error".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let read = |text: &str| read_answer("s", text.as_bytes());
        let ack = read(r#"{"stream":"A","seq":7,"duplicate":true}"#).expect("an ack");
        assert_eq!((ack.sequence, ack.duplicate), (7, true));
        let error = |code: u64, text: &str| {
            format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"{text}"}},"stream":"A","seq":0}}"#
            )
        };
        let exists = [
            error(10071, "wrong last sequence: 3"),
            error(10077, "maximum messages per subject exceeded"),
        ];
        for answer in exists {
            assert!(matches!(read(&answer), Err(PublishError::Exists(_))));
        }
        let refused = [
            error(10077, "maximum bytes exceeded"),
            error(10047, "insufficient resources"),
        ];
        for answer in refused {
            assert!(matches!(read(&answer), Err(PublishError::Refused { .. })));
        }
        assert!(matches!(
            read("nonsense"),
            Err(PublishError::Unknown { .. })
        ));
        assert!(matches!(read("{}"), Err(PublishError::Unknown { .. })));
    }
}
