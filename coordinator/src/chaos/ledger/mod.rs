//! The ledger of a run: what everybody saw, written to disk when it happened, read when it is
//! over.
//!
//! * [`lines`]: what is written, one JSON object a line. The process that submits writes
//!   [`SUBMITS`], the one that watches [`TOLD`] and [`FAULTS`], the tool itself
//!   `attempts.<worker's process id>.log`; what the broker held at the end is in [`BROKER`].
//! * [`journal`]: appending to such a file, each line on disk before the writer goes on.
//! * [`read`]: all of it together, by task.

pub(crate) mod journal;
pub(crate) mod lines;
pub(crate) mod read;

use std::collections::BTreeMap;

pub(crate) use journal::Journal;
use lines::{Left, Letter, Run, Stored, Struck, View, WorkerLife};

/// The file of the run's settings.
pub(crate) const RUN: &str = "run.json";
/// The file of what was submitted and what was answered.
pub(crate) const SUBMITS: &str = "submits.jsonl";
/// The file of the results that were told.
pub(crate) const TOLD: &str = "told.jsonl";
/// The file of the faults, and of the workers' lives.
pub(crate) const FAULTS: &str = "faults.jsonl";
/// The file of what the broker held at the end.
pub(crate) const BROKER: &str = "broker.json";
/// The script that is every task's tool.
pub(crate) const SCRIPT: &str = "attempt.sh";

/// A run as it was seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// What was asked for.
    pub(crate) run: Run,
    /// Each task that anybody knows of, by id.
    pub(crate) tasks: BTreeMap<String, Account>,
    /// The faults that were injected, by time.
    pub(crate) faults: Vec<Struck>,
    /// The workers, in the order in which they were started.
    pub(crate) workers: Vec<WorkerLife>,
    /// What was left when all was over.
    pub(crate) left: Left,
    /// Lines that could not be read: a writer was killed in the middle.
    pub(crate) torn: usize,
}

/// A task as it was seen. Times are milliseconds since 1970 on this machine's clock.
#[derive(Debug, Clone, Default)]
pub(crate) struct Account {
    /// When each try to submit it began.
    pub(crate) intents_ms: Vec<u64>,
    /// The latest moment at which a try may have set its deadline.
    pub(crate) last_submit_ms: u64,
    /// When the broker's word was first heard that it has the task.
    pub(crate) accepted_ms: Option<u64>,
    /// Why the session did not take it, or gave no outcome.
    pub(crate) troubles: Vec<String>,
    /// Each outcome that anybody was told, in the order in which it was written.
    pub(crate) views: Vec<View>,
    /// Each execution, by its beginning.
    pub(crate) executions: Vec<Execution>,
    /// Its result at the broker, at the end.
    pub(crate) stored: Option<Stored>,
    /// Its dead letter at the broker, at the end.
    pub(crate) letter: Option<Letter>,
}

/// One run of the tool, as the tool itself wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Execution {
    /// Its name, which is its output too.
    pub(crate) run: String,
    /// The process id of its worker.
    pub(crate) worker_pid: u32,
    /// When it began.
    pub(crate) start_ms: u64,
    /// When it ended and with which status; none when it was killed.
    pub(crate) end: Option<(u64, i32)>,
}

impl Account {
    /// Whether the broker has had it: it said so, or somebody ran or answered it.
    pub(crate) fn was_accepted(&self) -> bool {
        self.accepted_ms.is_some() || !self.executions.is_empty()
    }
}

impl Ledger {
    /// The id of the worker whose process id was `pid` at `at_ms`.
    pub(crate) fn worker(&self, pid: u32, at_ms: u64) -> Option<&str> {
        let lives = self.workers.iter().filter(|life| life.pid == pid);
        let mut begun = lives.filter(|life| life.from_ms <= at_ms.saturating_add(1_000));
        begun.next_back().map(|life| life.id.as_str())
    }
}
