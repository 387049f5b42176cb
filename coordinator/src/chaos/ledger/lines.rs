//! What is written into the ledger. All times are milliseconds since 1970, this machine's clock.

use a3s_shared::protocol::{Outcome, TaskResult};
use serde::{Deserialize, Serialize};

use crate::chaos::plan::Fault;

/// What was asked for: what all processes of a run agree on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// A name that no other run has: the sessions begin with it.
    pub(crate) name: String,
    /// What tasks and faults are made from.
    pub(crate) seed: u64,
    /// How many tasks.
    pub(crate) tasks: usize,
    /// Tasks that are under way at a time.
    pub(crate) concurrency: usize,
    /// Over how many milliseconds they are spread.
    pub(crate) span_ms: u64,
    /// When the first task is due.
    pub(crate) began_ms: u64,
    /// How long a lease lasts that nobody renews, in milliseconds.
    pub(crate) lease_ms: u64,
}

impl Run {
    /// When a task is due.
    pub(crate) fn due_ms(&self, index: usize) -> u64 {
        let part = self.span_ms.saturating_mul(index as u64) / (self.tasks.max(1) as u64);
        self.began_ms.saturating_add(part)
    }
}

/// A line of the process that submits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Submit {
    /// The process began: what an earlier one had under way is over.
    Began { at_ms: u64 },
    /// A task is about to be submitted.
    Intent { task: String, at_ms: u64 },
    /// The session has it: its deadline is set.
    Sent { task: String, at_ms: u64 },
    /// The broker has it.
    Accepted { task: String, at_ms: u64 },
    /// It has an outcome.
    Ended(View),
    /// It was not taken, or has no outcome.
    Trouble {
        task: String,
        error: String,
        at_ms: u64,
    },
}

/// An outcome, as somebody was told it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    /// The task.
    pub(crate) task: String,
    /// When it was heard of.
    pub(crate) at_ms: u64,
    /// How the task ended.
    pub(crate) outcome: Outcome,
    /// Who answered.
    pub(crate) worker: String,
    /// Which attempt that was, as the answer says.
    pub(crate) attempt: u32,
    /// When that attempt began, as the answer says.
    pub(crate) started_at_ms: u64,
    /// The name of the execution that the answer shows.
    pub(crate) run: Option<String>,
}

impl View {
    /// A result that was heard at `at_ms`.
    pub(crate) fn of(result: &TaskResult, at_ms: u64) -> Self {
        let output = result.result["output"].as_str().map(str::trim);
        Self {
            task: result.task_id.clone(),
            at_ms,
            outcome: result.outcome(),
            worker: result.worker_id.clone(),
            attempt: result.attempt,
            started_at_ms: result.started_at_ms,
            run: output.filter(|run| !run.is_empty()).map(str::to_owned),
        }
    }

    /// Whether both tell the same result, whenever they were heard.
    pub(crate) fn agrees(&self, other: &Self) -> bool {
        let same = |view: &Self| Self {
            at_ms: 0,
            ..view.clone()
        };
        same(self) == same(other)
    }
}

/// A result at the broker. `at_ms` is when it was stored.
pub(crate) type Stored = View;

/// A dead letter at the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// The task.
    pub(crate) task: String,
    /// How many attempts it speaks of.
    pub(crate) attempts: u32,
}

/// A fault that was injected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Struck {
    /// What was planned.
    pub(crate) fault: Fault,
    /// When it really began.
    pub(crate) from_ms: u64,
    /// When it was really over.
    pub(crate) to_ms: u64,
}

/// A worker that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerLife {
    /// The id that it answers under.
    pub(crate) id: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// When it was started.
    pub(crate) from_ms: u64,
}

/// A line of the process that injects faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(crate) enum Event {
    /// A fault is over.
    Struck(Struck),
    /// A worker was started.
    Worker(WorkerLife),
}

/// What the broker and this machine held when all was over.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct AtTheEnd {
    /// The results of the run's sessions.
    pub(crate) results: Vec<Stored>,
    /// Their dead letters.
    pub(crate) letters: Vec<Letter>,
    /// What should not have been there any more.
    pub(crate) left: Left,
}

/// What should not be there any more when workers have drained.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Left {
    /// Tasks that are still in a stream.
    pub(crate) tasks: Vec<String>,
    /// Deliveries that a consumer waits for, by consumer. Only on a server of the run's own.
    pub(crate) leases: Vec<(String, usize)>,
    /// Processes that tools started: id and command line.
    pub(crate) processes: Vec<(u32, String)>,
}
