//! What must be true of every run, whatever was broken in it. Each invariant is a pure function of
//! the ledger that names the tasks which break it.
//!
//! * [`outcomes`]: nothing is lost, nothing is made up, nothing has two ends.
//! * [`starts`]: how often, and until when, the tool was started.
//! * [`left`]: nothing stays behind.

mod left;
mod outcomes;
mod starts;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::ledger::Ledger;

/// A task that breaks an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Offence {
    /// The task; or what else it is about.
    pub(crate) task: String,
    /// What was seen.
    pub(crate) what: String,
}

/// A promise of the system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Invariant {
    /// Its short name.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) says: &'static str,
    /// Finds what breaks it.
    pub(crate) check: fn(&Ledger) -> Vec<Offence>,
}

/// All of them, in the order of the design.
pub(crate) const INVARIANTS: [Invariant; 8] = [
    Invariant {
        name: "I1",
        says: "what the broker accepted has an outcome",
        check: outcomes::lost,
    },
    Invariant {
        name: "I2",
        says: "there is no result of a task that nobody submitted",
        check: outcomes::of_strangers,
    },
    Invariant {
        name: "I3",
        says: "everybody who saw an outcome saw the same one",
        check: outcomes::contradicted,
    },
    Invariant {
        name: "I4",
        says: "a once task starts at most once, any other once more for each fault, retry or lost lease",
        check: starts::too_often,
    },
    Invariant {
        name: "I5",
        says: "no task has more attempts than its caller allowed",
        check: starts::beyond_attempts,
    },
    Invariant {
        name: "I6",
        says: "nothing starts later than a second after its deadline",
        check: starts::too_late,
    },
    Invariant {
        name: "I7",
        says: "a result is that of an execution that was finished by the worker it names",
        check: outcomes::without_execution,
    },
    Invariant {
        name: "I8",
        says: "after a drain there is no task, no lease and no process left",
        check: left::behind,
    },
];

/// An invariant and what breaks it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    /// The invariant's short name.
    pub(crate) name: &'static str,
    /// What it says.
    pub(crate) says: &'static str,
    /// The offences; none when it holds.
    pub(crate) offences: Vec<Offence>,
}

/// Checks all invariants.
pub(crate) fn check(ledger: &Ledger) -> Vec<Finding> {
    let findings = INVARIANTS.iter().map(|invariant| Finding {
        name: invariant.name,
        says: invariant.says,
        offences: (invariant.check)(ledger),
    });
    findings.collect()
}

/// An offence of a task.
fn offence(task: &str, what: impl Into<String>) -> Offence {
    Offence {
        task: task.to_owned(),
        what: what.into(),
    }
}
