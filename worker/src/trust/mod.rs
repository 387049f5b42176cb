//! Whom this worker runs tasks for. A task that is not signed by a key which may ask for it is
//! answered `refused` before its tool sees the payload, and is not tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use a3s_shared::broker::StoredTask;
use a3s_shared::protocol::ExternalTask;
use a3s_shared::protocol::signature::{Refusal, TrustList};

/// How long after its submission a task is stored at most, in milliseconds, if it is the first of
/// its message id: half of the time in which the broker stores no second one.
const FIRST_WITHIN_MS: u64 = 30_000;

/// The trust list of a worker, and how often it said no.
#[derive(Debug)]
pub(crate) struct Trust {
    list: Arc<TrustList>,
    refused: Arc<AtomicU64>,
}

impl Trust {
    /// Counts in `refused`.
    pub(crate) fn new(list: Arc<TrustList>, refused: Arc<AtomicU64>) -> Self {
        Self { list, refused }
    }

    /// Whether the task may be run here.
    pub(crate) fn check(&self, stored: &StoredTask, task: &ExternalTask) -> Result<(), Refusal> {
        stored.check(&self.list, task).inspect_err(|refusal| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                task.id = task.task_id, session.id = task.session_id, lane = %task.lane,
                %refusal, "a task was refused"
            );
        })
    }
}

/// Whether a task that is delivered for the first time may have been stored before, and answered:
/// somebody published its message again. The message id is signed, and the broker stores one only
/// once a minute, so a copy comes late. (A task that waited long in its caller's process does too.)
pub(crate) fn may_be_a_copy(stored_at_ms: u64, task: &ExternalTask) -> bool {
    let submitted = task.deadline_ms.saturating_sub(task.timeout_ms);
    stored_at_ms > submitted.saturating_add(FIRST_WITHIN_MS)
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::SessionLane;

    use super::*;

    #[test]
    fn what_is_stored_long_after_its_submission_may_be_a_copy() {
        let task = ExternalTask {
            task_id: "t".to_owned(),
            session_id: "s".to_owned(),
            lane: SessionLane::Query,
            command_type: "read".to_owned(),
            payload: serde_json::Value::Null,
            timeout_ms: 600_000,
            deadline_ms: 1_600_000,
        };
        assert!(!may_be_a_copy(1_000_100, &task));
        assert!(may_be_a_copy(1_060_000, &task));
    }
}
