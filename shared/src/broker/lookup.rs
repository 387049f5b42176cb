//! Reading and removing single messages of a stream.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::requests::Unanswered;
use super::{Broker, BrokerError, REQUEST_TIMEOUT, ends_in};

/// The most messages that one scan reads.
const SCAN_LIMIT: usize = 100_000;

/// A message as a stream holds it.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// When it was stored, in the broker's time, milliseconds since 1970.
    pub stored_at_ms: u64,
    /// Its headers, and those that the broker adds to the read.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl StoredMessage {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    fn read(message: Message, what: &str) -> Result<Option<Self>, BrokerError> {
        if let Some(status) = message.status {
            return match status.as_u16() {
                404 | 408 => Ok(None),
                code => Err(BrokerError::refused(what, format!("status {code}"))),
            };
        }
        let headers = message.headers.unwrap_or_default();
        let text = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
        let (Some(subject), Some(sequence)) = (text("Nats-Subject"), text("Nats-Sequence")) else {
            return Err(BrokerError::unreadable(
                what,
                "not an answer to a direct get",
            ));
        };
        Ok(Some(Self {
            subject: subject.to_owned(),
            stored_at_ms: text("Nats-Time-Stamp").map_or(0, stored_at),
            sequence: sequence
                .parse()
                .map_err(|e| BrokerError::unreadable(what, e))?,
            headers,
            body: message.payload,
        }))
    }
}

/// Milliseconds since 1970 of a date as the broker writes it; 0 when it cannot be read.
fn stored_at(text: &str) -> u64 {
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;
    let at = OffsetDateTime::parse(text, &Rfc3339).ok();
    let ms = at.map_or(0, |at| at.unix_timestamp_nanos() / 1_000_000);
    u64::try_from(ms).unwrap_or_default()
}

impl Broker {
    /// The last message of a subject, `None` when it has none.
    ///
    /// # Errors
    /// When the broker does not answer or the stream does not exist.
    pub async fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StoredMessage>, BrokerError> {
        let call = self.api_subject(&format!("DIRECT.GET.{stream}.{subject}"));
        self.direct_get(call, Bytes::new(), stream).await
    }

    /// The message of a sequence, `None` when it is gone.
    ///
    /// # Errors
    /// As [`Broker::last`].
    pub async fn at(&self, stream: &str, seq: u64) -> Result<Option<StoredMessage>, BrokerError> {
        let call = self.api_subject(&format!("DIRECT.GET.{stream}"));
        let body = json!({ "seq": seq }).to_string();
        self.direct_get(call, body.into(), stream).await
    }

    /// The messages whose subject matches `filter`, oldest first, from sequence `from` on; at
    /// most 100,000.
    ///
    /// # Errors
    /// As [`Broker::last`].
    pub async fn scan(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
    ) -> Result<Vec<StoredMessage>, BrokerError> {
        let mut found = Vec::new();
        let mut next = from.max(1);
        while found.len() < SCAN_LIMIT {
            let Some(message) = self.next(stream, filter, next).await? else {
                break;
            };
            next = message.sequence + 1;
            found.push(message);
        }
        Ok(found)
    }

    /// The bodies of the messages that a stream holds on the subjects of `filter`, oldest first;
    /// at most 100,000. Unlike [`scan`](Self::scan) it names the filter in the subject of its
    /// request, where permissions see it; for streams that are no work queues.
    ///
    /// # Errors
    /// As [`Broker::last`].
    pub(super) async fn held(&self, stream: &str, filter: &str) -> Result<Vec<Bytes>, BrokerError> {
        let (mut messages, there) = self.follow(stream, filter).await?;
        let (mut found, mut left) = (Vec::new(), there);
        while left > 0 && found.len() < SCAN_LIMIT {
            let next = timeout(REQUEST_TIMEOUT, messages.next()).await;
            // The last ones may have gone by their age before they were delivered.
            let Ok(Some(Ok(message))) = next else { break };
            left = message.info().map_or(0, |info| info.pending);
            found.push(message.message.payload);
        }
        Ok(found)
    }

    /// The first message at or after sequence `from` whose subject matches `filter`.
    ///
    /// # Errors
    /// As [`Broker::last`].
    pub async fn next(
        &self,
        stream: &str,
        filter: &str,
        from: u64,
    ) -> Result<Option<StoredMessage>, BrokerError> {
        let call = self.api_subject(&format!("DIRECT.GET.{stream}"));
        let body = json!({ "seq": from, "next_by_subj": filter }).to_string();
        self.direct_get(call, body.into(), stream).await
    }

    /// Removes a message; `false` when it was gone.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove(&self, stream: &str, sequence: u64) -> Result<bool, BrokerError> {
        let what = format!("remove message {sequence} of {stream}");
        let handle = self.stream_handle(stream, &what).await?;
        let removing = async { Ok(handle.delete_message(sequence).await) };
        match self
            .unless_denied(&what, ends_in(format!("MSG.DELETE.{stream}")), removing)
            .await?
        {
            Ok(removed) => Ok(removed),
            Err(error) => match self.at(stream, sequence).await {
                Ok(None) => Ok(false),
                _ => Err(BrokerError::refused(what, error)),
            },
        }
    }

    async fn direct_get(
        &self,
        call: String,
        body: Bytes,
        stream: &str,
    ) -> Result<Option<StoredMessage>, BrokerError> {
        let what = format!("read {stream}");
        match self.requests.ask(call, HeaderMap::new(), body).await {
            Ok(message) => StoredMessage::read(message, &what),
            Err(Unanswered::NoResponders) => {
                let name = stream.to_owned();
                Err(BrokerError::Missing { what, name })
            }
            Err(error) => Err(BrokerError::unanswered(what, error)),
        }
    }
}
