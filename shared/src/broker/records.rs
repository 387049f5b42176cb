//! Task records: claims and attempts, written by compare-and-set.

use super::publish::{Outgoing, PublishError};
use super::{Broker, BrokerError};
use crate::protocol::{Encoding, TaskRecord, clock};

/// How long a record outlives its task's deadline, in milliseconds: a redelivery of the task is
/// answered by the deadline alone then.
const KEPT_AFTER_DEADLINE_MS: u64 = 3_600_000;

/// How long a message lives, for streams that allow it; in whole seconds.
pub(super) const TTL: &str = "Nats-TTL";

/// The TTL of what concerns a task that ends at `deadline_ms`.
pub(super) fn ttl(deadline_ms: u64) -> String {
    let left = deadline_ms.saturating_sub(clock::now_ms());
    // The streams' own age limit is seven days.
    let seconds = (left.saturating_add(KEPT_AFTER_DEADLINE_MS) / 1000).min(6 * 24 * 3600);
    format!("{seconds}s")
}

impl Broker {
    /// A task's record and its revision; an empty one of revision 0 when there is none.
    ///
    /// # Errors
    /// When the broker does not answer, or what is stored cannot be read.
    pub async fn record(
        &self,
        session: &str,
        task_id: &str,
    ) -> Result<(TaskRecord, u64), BrokerError> {
        let subject = self.names().claim(session, task_id);
        match self.last(&self.names().claims(), &subject).await? {
            None => Ok((TaskRecord::default(), 0)),
            Some(found) => {
                let record = Encoding::Json.decode(&found.body);
                let record = record.map_err(|e| BrokerError::unreadable(subject, e))?;
                Ok((record, found.sequence))
            }
        }
    }

    /// Writes a task's record over revision `revision` and returns the new revision.
    ///
    /// # Errors
    /// `Conflict` when somebody wrote meanwhile; else when it was not confirmed.
    pub async fn write_record(
        &self,
        session: &str,
        task_id: &str,
        record: &TaskRecord,
        revision: u64,
        deadline_ms: u64,
    ) -> Result<u64, BrokerError> {
        let subject = self.names().claim(session, task_id);
        let outgoing = Outgoing {
            subject: subject.clone(),
            headers: vec![(TTL, ttl(deadline_ms))],
            body: Encoding::Json.encode(record).into(),
            expected_last: Some(revision),
            ..Outgoing::default()
        };
        match self.publish(&outgoing).await {
            Ok(ack) => Ok(ack.sequence),
            Err(PublishError::Exists(_)) => Err(BrokerError::Conflict { what: subject }),
            // Stored or not: what is there now tells.
            Err(error @ PublishError::Unknown { .. }) => {
                match self.record(session, task_id).await? {
                    (found, sequence) if found == *record => Ok(sequence),
                    _ => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}
