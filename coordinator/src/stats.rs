//! What waits and what runs in a session at one moment.
//!
//! What waits is known here alone: each process of a session holds its own. What is queued or
//! runs at workers is known to the broker, for all processes of the session together.

use std::collections::BTreeMap;

use a3s_shared::protocol::{SessionLane, TaskHandlerMode};
use serde::{Deserialize, Serialize};

/// One lane at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneStatus {
    /// The lane.
    pub lane: SessionLane,
    /// Tasks that wait in this process for their turn.
    pub pending: usize,
    /// Tasks that this process runs, and those of all processes of the session that are queued
    /// at the broker or with workers. One that has just ended counts until its worker has
    /// acknowledged it.
    pub active: usize,
    /// Those of the active that run: in this process or with workers. `None` when that is not
    /// known, as in a pool, where the broker does not say whose tasks the workers have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<usize>,
    /// Most tasks that may be queued or run.
    pub max_concurrency: usize,
    /// Who handles tasks that are submitted now.
    pub handler_mode: TaskHandlerMode,
}

/// A session at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionQueueStats {
    /// Tasks that wait in this process, over all lanes.
    pub total_pending: usize,
    /// Tasks that are queued at the broker or run, over all lanes; of what is at the broker, also
    /// those that other processes of the session submitted.
    pub total_active: usize,
    /// External tasks that wait in this process, and those of all processes of the session that
    /// are queued or run.
    pub external_pending: usize,
    /// By the lane's name: `"Query"`.
    pub lanes: BTreeMap<String, LaneStatus>,
}

impl SessionQueueStats {
    /// The sum over `lanes`.
    pub(crate) fn of(lanes: [LaneStatus; 4], external_pending: usize) -> Self {
        Self {
            total_pending: lanes.iter().map(|lane| lane.pending).sum(),
            total_active: lanes.iter().map(|lane| lane.active).sum(),
            external_pending,
            lanes: lanes
                .into_iter()
                .map(|lane| (lane.lane.name().to_owned(), lane))
                .collect(),
        }
    }

    /// [`total_pending`](Self::total_pending).
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.total_pending
    }

    /// [`total_active`](Self::total_active).
    #[must_use]
    pub fn active_count(&self) -> usize {
        self.total_active
    }

    /// [`external_pending`](Self::external_pending).
    #[must_use]
    pub fn external_count(&self) -> usize {
        self.external_pending
    }

    /// [`lanes`](Self::lanes).
    #[must_use]
    pub fn per_lane(&self) -> &BTreeMap<String, LaneStatus> {
        &self.lanes
    }
}
