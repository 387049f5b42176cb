//! The records of sessions: where their tasks go. Written by whoever comes first.

use async_nats::jetstream::kv::{self, CreateErrorKind, UpdateErrorKind};
use futures::TryStreamExt;

use super::{Broker, BrokerError};
use crate::protocol::{Encoding, SessionRecord};

impl Broker {
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
        let entry = bucket.entry(session).await;
        let entry = entry.map_err(|e| BrokerError::unreachable(&what, e))?;
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
        match bucket.create(&record.session_id, body.into()).await {
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
        match bucket
            .update(&record.session_id, body.into(), revision)
            .await
        {
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
        bucket
            .purge(session)
            .await
            .map_err(|e| BrokerError::unreachable(what, e))
    }

    /// The records of all sessions.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn sessions(&self) -> Result<Vec<SessionRecord>, BrokerError> {
        let what = "list the sessions";
        let bucket = self.sessions_bucket(what).await?;
        let keys = bucket
            .keys()
            .await
            .map_err(|e| BrokerError::unreachable(what, e))?;
        let keys: Vec<String> = keys
            .try_collect()
            .await
            .map_err(|e| BrokerError::unreachable(what, e))?;
        let mut records = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some((record, _)) = self.session(&key).await? {
                records.push(record);
            }
        }
        Ok(records)
    }

    async fn sessions_bucket(&self, what: &str) -> Result<kv::Store, BrokerError> {
        let bucket = self
            .jetstream()
            .get_key_value(self.names().sessions_bucket())
            .await;
        bucket.map_err(|e| BrokerError::unreachable(what, e))
    }
}
