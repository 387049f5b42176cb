//! What the fleet did for an agent: counters, and a report of each task for whoever listens.

use a3s_shared::protocol::{Outcome, TaskResult};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

/// How far a listener may lag behind before it misses reports.
const KEPT: usize = 1_024;

/// Counters since the fleet was attached.
///
/// `calls` are calls of the agent, the others tasks at the broker: one call that reads many files
/// is many tasks. When nothing is under way, `calls` is `answered` plus `late`, and `submitted`
/// the sum of the six outcomes and `lost`; then the coordinator's metrics of the session say the
/// same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FleetStats {
    /// Calls that were taken from the agent's queue.
    pub calls: u64,
    /// Calls that got their answer.
    pub answered: u64,
    /// Calls whose answer nobody waited for any more: cancelled, or closed.
    pub late: u64,
    /// Calls that were refused without asking a worker, because no worker does them.
    pub refused: u64,
    /// Calls that were given up because no worker served their lane.
    pub unserved: u64,
    /// Tasks that were submitted.
    pub submitted: u64,
    /// Tasks whose tool succeeded.
    pub completed: u64,
    /// Tasks whose tool failed.
    pub failed: u64,
    /// Tasks that ran into their deadline.
    pub timed_out: u64,
    /// Tasks that were cancelled.
    pub cancelled: u64,
    /// Tasks that were started, and nobody knows how far they came.
    pub unknown: u64,
    /// Tasks that were given up.
    pub dead_lettered: u64,
    /// Tasks of which the broker said nothing.
    pub lost: u64,
}

/// The end of a task, or of a call that never became one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The task's id at the broker.
    pub task_id: String,
    /// Its tool.
    pub command_type: String,
    /// How it ended; None when no worker was asked, or nobody knows.
    pub outcome: Option<Outcome>,
    /// Who ran it; empty when nobody did.
    pub worker_id: String,
    /// Which attempt it was, from 1; 0 when none was started.
    pub attempt: u32,
    /// How long that ran, in milliseconds.
    pub duration_ms: u64,
    /// Why it has no success.
    pub error: Option<String>,
}

/// Keeps the counters and tells the reports.
#[derive(Debug)]
pub(crate) struct Tally {
    stats: Mutex<FleetStats>,
    reports: broadcast::Sender<Report>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            stats: Mutex::default(),
            reports: broadcast::Sender::new(KEPT),
        }
    }
}

impl Tally {
    pub(crate) fn stats(&self) -> FleetStats {
        *self.stats.lock()
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Report> {
        self.reports.subscribe()
    }

    /// Counts something.
    pub(crate) fn count(&self, count: impl FnOnce(&mut FleetStats)) {
        count(&mut self.stats.lock());
    }

    /// A task ended.
    pub(crate) fn ended(&self, result: &TaskResult) {
        let outcome = result.outcome();
        self.count(|stats| {
            *match outcome {
                Outcome::Completed => &mut stats.completed,
                Outcome::Failed => &mut stats.failed,
                Outcome::TimedOut => &mut stats.timed_out,
                Outcome::Cancelled => &mut stats.cancelled,
                Outcome::Unknown => &mut stats.unknown,
                Outcome::DeadLettered => &mut stats.dead_lettered,
            } += 1;
        });
        self.tell(Report {
            task_id: result.task_id.clone(),
            command_type: result.command_type.clone(),
            outcome: Some(outcome),
            worker_id: result.worker_id.clone(),
            attempt: result.attempt,
            duration_ms: result.duration_ms,
            error: result.error.clone(),
        });
    }

    /// A call ended without a result of a worker.
    pub(crate) fn without_result(&self, task_id: &str, command_type: &str, why: &str) {
        self.tell(Report {
            task_id: task_id.to_owned(),
            command_type: command_type.to_owned(),
            outcome: None,
            worker_id: String::new(),
            attempt: 0,
            duration_ms: 0,
            error: Some(why.to_owned()),
        });
    }

    fn tell(&self, report: Report) {
        // Nobody may be listening.
        let _ = self.reports.send(report);
    }
}
