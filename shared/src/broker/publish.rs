//! Publishing to a stream, confirmed by the broker.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, HeaderName, Message, Subject};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::sleep;

use super::requests::Unanswered;
use super::{Broker, BrokerError, REQUEST_TIMEOUT};
use crate::runtime::Denied;

/// The publish counts only if its subject's last message has this sequence; 0: has none.
pub(super) const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";

/// ... where that is the last message of this subject instead.
const OF_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// A sequence that no message has, and every client can write.
const NEVER: &str = "9007199254740991";

/// The wait before a subject is looked at again to which something is being published.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);

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
    /// Headers that it has in common with others.
    pub common: Arc<HeaderMap>,
    /// Its headers beside them.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Bytes,
    /// Store it only if the last message of its subject has this sequence (0: there is none).
    pub expected_last: Option<u64>,
}

impl Outgoing {
    fn header_map(&self) -> HeaderMap {
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (*name, value.clone()));
        headers_of(&self.common, headers, self.expected_last)
    }
}

fn headers_of(
    common: &HeaderMap,
    headers: impl IntoIterator<Item = (&'static str, String)>,
    expected_last: Option<u64>,
) -> HeaderMap {
    let mut map = common.clone();
    for (name, value) in headers {
        map.insert(HeaderName::from_static(name), value);
    }
    if let Some(sequence) = expected_last {
        map.insert(HeaderName::from_static(EXPECTED_LAST), sequence.to_string());
    }
    map
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
    /// The broker does not permit it: nothing is stored.
    #[error(
        "not permitted to {0}: use a credential that may (`a3s-coordinator doctor` shows what \
         this one can do)"
    )]
    Denied(Denied),
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
    /// The sequence of the subject's last message (0: it has none), where the refusal names it.
    fn last_sequence(&self) -> Option<u64> {
        let (_, number) = self.description.rsplit_once("wrong last sequence: ")?;
        number.parse().ok()
    }

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
            Err(Unanswered::Denied(denied)) => Err(PublishError::Denied(denied)),
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

    /// Publishes if the client takes it at once, and has `then` called with the broker's word, once,
    /// from wherever it is heard: `None` when the message was not sent, refused, or not answered.
    pub(super) fn publish_then(
        &self,
        outgoing: Outgoing,
        then: impl FnOnce(Option<PubAck>) + Send + 'static,
    ) {
        let Outgoing { subject, body, .. } = outgoing;
        let headers = headers_of(&outgoing.common, outgoing.headers, outgoing.expected_last);
        let subject = Subject::from(subject);
        let to = subject.clone();
        let call = move |answer: Result<Message, Unanswered>| {
            let answer = answer.ok();
            then(answer.and_then(|answer| read_answer(&to, &answer.payload).ok()));
        };
        if let Err(call) = self.requests.post(subject, headers, body, Box::new(call)) {
            call(Err(Unanswered::Unknown("it was not sent".to_owned())));
        }
    }

    /// Asks whether our credential may publish to `subject`, which a stream takes. Nothing is
    /// stored: the message says that it is for another stream. `what` is it needed for.
    ///
    /// # Errors
    /// [`BrokerError::Denied`] when it may not. That the broker says nothing is no error here.
    pub async fn may_publish(&self, what: &str, subject: &str) -> Result<(), BrokerError> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", "nowhere");
        self.may_ask(what, subject, headers, Bytes::new()).await
    }

    /// Asks whether our credential may pull from a consumer: by a pull that the broker cannot
    /// read, so that it brings no task.
    ///
    /// # Errors
    /// As [`Broker::may_publish`].
    pub async fn may_pull(
        &self,
        what: &str,
        stream: &str,
        consumer: &str,
    ) -> Result<(), BrokerError> {
        let subject = self.api_subject(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}"));
        let unreadable = Bytes::from_static(br#"{"batch":"none"}"#);
        self.may_ask(what, &subject, HeaderMap::new(), unreadable)
            .await
    }

    async fn may_ask(
        &self,
        what: &str,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), BrokerError> {
        match self.requests.ask(subject.to_owned(), headers, body).await {
            Err(error @ Unanswered::Denied(_)) => Err(BrokerError::unanswered(what, error)),
            _ => Ok(()),
        }
    }

    /// Whether `subject` of a stream has a message, for who may not read it: asked by a publish to
    /// `elsewhere`, a subject of the same stream, which is refused whatever there is. The refusal
    /// says where the last message of `subject` is.
    pub(super) async fn holds(&self, subject: &str, elsewhere: &str) -> Result<bool, BrokerError> {
        let what = format!("look for {subject}");
        let mut headers = HeaderMap::new();
        headers.insert(EXPECTED_LAST, NEVER);
        headers.insert(OF_SUBJECT, subject);
        let until = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let (to, headers) = (elsewhere.to_owned(), headers.clone());
            let answer = self.requests.ask(to, headers, Bytes::new()).await;
            let answer = answer.map_err(|error| BrokerError::unanswered(&what, error))?;
            let read = serde_json::from_slice::<Answer<'_>>(&answer.payload);
            let read = read.map_err(|e| BrokerError::unreadable(&what, e))?;
            match read.error {
                Some(error) if error.last_sequence().is_some() => {
                    return Ok(error.last_sequence() > Some(0));
                }
                // Something is being published to it at this moment.
                Some(error) if error.says_exists() && Instant::now() < until => {
                    sleep(LOOK_AGAIN_AFTER).await;
                }
                Some(error) => return Err(BrokerError::refused(what, error.description)),
                None => return Err(BrokerError::unreadable(what, "it was not refused")),
            }
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

/// Reads the answer that nearly every publish has, `{"stream":"A3S_TASKS", "seq":7}`, at a fraction of
/// what the general way takes: every task has two. `None` for whatever says anything else.
fn plain(answer: &[u8]) -> Option<PubAck> {
    let answer = str::from_utf8(answer).ok()?;
    let rest = answer.strip_prefix(r#"{"stream":""#)?;
    let (stream, rest) = rest.split_once('"')?;
    let rest = rest.strip_prefix(',')?.trim_start();
    let number = rest.strip_prefix(r#""seq":"#)?.strip_suffix('}')?;
    Some(PubAck {
        // An escape would be a backslash.
        stream: (!stream.contains('\\')).then(|| stream.to_owned())?,
        sequence: number.parse().ok()?,
        duplicate: false,
    })
}

fn read_answer(subject: &str, answer: &[u8]) -> Result<PubAck, PublishError> {
    if let Some(ack) = plain(answer) {
        return Ok(ack);
    }
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
        let plain = read(r#"{"stream":"A", "seq":7}"#).expect("an ack");
        assert_eq!(
            (plain.stream.as_str(), plain.sequence, plain.duplicate),
            ("A", 7, false)
        );
        let more = read(r#"{"stream":"A\u0042","seq":7,"domain":"hub"}"#).expect("an ack");
        assert_eq!((more.stream.as_str(), more.sequence), ("AB", 7));
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
