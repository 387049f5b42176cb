//! The records of sessions: where their tasks go. Written by whoever comes first.

use async_nats::jetstream::consumer::push;
use async_nats::jetstream::kv::{self, CreateErrorKind, UpdateErrorKind};
use futures::{StreamExt, TryStreamExt};

use super::{Broker, BrokerError, ends_in};
use crate::protocol::{Encoding, SessionRecord};

/// The header of what is no value: a deletion.
const OPERATION: &str = "KV-Operation";

/// What is written into the records of sessions: all records as they are, then every change.
pub struct RecordFeed {
    broker: Broker,
    messages: push::Ordered,
}

impl RecordFeed {
    /// The next record and its revision; `None` when the feed is broken and must be opened again.
    /// What cannot be read is logged and passed over.
    pub async fn next(&mut self) -> Option<(SessionRecord, u64)> {
        loop {
            let message = self.messages.next().await?.ok()?;
            let prefix = self
                .broker
                .names()
                .kv_key(&self.broker.names().sessions_bucket(), "");
            let Some(key) = message.subject.strip_prefix(&prefix) else {
                continue;
            };
            let headers = message.headers.as_ref();
            if headers.is_some_and(|headers| headers.get(OPERATION).is_some()) {
                continue;
            }
            let revision = message.info().ok()?.stream_sequence;
            match Encoding::Json.decode(&message.payload) {
                Ok(record) => return Some((record, revision)),
                Err(error) => {
                    tracing::warn!(session.id = key, %error, "a session's record cannot be read");
                }
            }
        }
    }
}

impl Broker {
    /// Follows the record of a session, or those of all with `None`.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn watch_records(&self, session: Option<&str>) -> Result<RecordFeed, BrokerError> {
        let bucket = self.names().sessions_bucket();
        let filter = self.names().kv_key(&bucket, session.unwrap_or(">"));
        let stream = self.names().kv_stream(&bucket);
        let (messages, _) = self.follow(&stream, &filter).await?;
        let broker = self.clone();
        Ok(RecordFeed { broker, messages })
    }

    /// A session's record and its revision.
    ///
    /// # Errors
    /// When the broker does not answer, or what is stored cannot be read.
    pub async fn session(
        &self,
        session: &str,
    ) -> Result<Option<(SessionRecord, u64)>, BrokerError> {
        let what = format!("read the record of session {session}");
        let bucket = self.sessions_bucket(&what).await?;
        let entry = async {
            let entry = bucket.entry(session).await;
            entry.map_err(|e| BrokerError::unreachable(&what, e))
        };
        let entry = self.of_record(session, &what, entry).await?;
        let Some(entry) = entry.filter(|e| e.operation == kv::Operation::Put) else {
            return Ok(None);
        };
        let record = Encoding::Json.decode(&entry.value);
        let record = record.map_err(|e| BrokerError::unreadable(what, e))?;
        Ok(Some((record, entry.revision)))
    }

    /// Writes a session's record if there is none, and returns its revision.
    ///
    /// # Errors
    /// `Conflict` when there is one.
    pub async fn create_session(&self, record: &SessionRecord) -> Result<u64, BrokerError> {
        let what = format!("write the record of session {}", record.session_id);
        let bucket = self.sessions_bucket(&what).await?;
        let body = Encoding::Json.encode(record);
        let create = async { Ok(bucket.create(&record.session_id, body.into()).await) };
        match self.of_record(&record.session_id, &what, create).await? {
            Ok(revision) => Ok(revision),
            Err(e) if e.kind() == CreateErrorKind::AlreadyExists => {
                Err(BrokerError::Conflict { what })
            }
            Err(e) => Err(BrokerError::unreachable(what, e)),
        }
    }

    /// Writes a session's record over revision `revision` and returns the new one.
    ///
    /// # Errors
    /// `Conflict` when somebody wrote meanwhile.
    pub async fn update_session(
        &self,
        record: &SessionRecord,
        revision: u64,
    ) -> Result<u64, BrokerError> {
        let what = format!("write the record of session {}", record.session_id);
        let bucket = self.sessions_bucket(&what).await?;
        let body = Encoding::Json.encode(record);
        let id = &record.session_id;
        let update = async { Ok(bucket.update(id, body.into(), revision).await) };
        match self.of_record(id, &what, update).await? {
            Ok(revision) => Ok(revision),
            Err(e) if e.kind() == UpdateErrorKind::WrongLastRevision => {
                Err(BrokerError::Conflict { what })
            }
            Err(e) => Err(BrokerError::unreachable(what, e)),
        }
    }

    /// Removes a session's record.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove_session(&self, session: &str) -> Result<(), BrokerError> {
        let what = format!("remove the record of session {session}");
        let bucket = self.sessions_bucket(&what).await?;
        let purge = async {
            let purged = bucket.purge(session).await;
            purged.map_err(|e| BrokerError::unreachable(&what, e))
        };
        self.of_record(session, &what, purge).await
    }

    /// The records of all sessions.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn sessions(&self) -> Result<Vec<SessionRecord>, BrokerError> {
        let what = "list the sessions";
        let bucket = self.sessions_bucket(what).await?;
        let keys = async {
            let unreachable = |error: String| BrokerError::unreachable(what, error);
            let keys = bucket.keys().await;
            let keys = keys.map_err(|e| unreachable(e.to_string()))?;
            let keys = keys.try_collect().await;
            keys.map_err(|e| unreachable(e.to_string()))
        };
        let stream = self.names().kv_stream(&self.names().sessions_bucket());
        let of = ends_in(format!("CONSUMER.CREATE.{stream}"));
        let keys: Vec<String> = self.unless_denied(what, of, keys).await?;
        let mut records = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((record, _)) = self.session(&key).await? {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// Looked up once: to open a session takes round trips enough.
    async fn sessions_bucket(&self, what: &str) -> Result<&kv::Store, BrokerError> {
        let look_up = || self.bucket_of(what, self.names().sessions_bucket());
        self.sessions.get_or_try_init(look_up).await
    }

    async fn of_record<T>(
        &self,
        session: &str,
        what: &str,
        work: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let bucket = self.names().sessions_bucket();
        let of = ends_in(self.names().kv_key(&bucket, session));
        self.unless_denied(what, of, work).await
    }
}
