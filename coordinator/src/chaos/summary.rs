//! What came out of a run, in numbers. Pure, over the ledger.

use std::collections::BTreeMap;

use a3s_shared::protocol::Outcome;
use serde::Serialize;

use super::checks::Finding;
use super::ledger::Ledger;
use super::plan::{Harm, Target};

/// The numbers of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Summary {
    /// Tasks that somebody tried to submit.
    pub(crate) attempted: usize,
    /// Tasks that the broker took.
    pub(crate) accepted: usize,
    /// Tasks by how they ended.
    pub(crate) completed: usize,
    pub(crate) failed: usize,
    pub(crate) timed_out: usize,
    pub(crate) cancelled: usize,
    pub(crate) unknown: usize,
    pub(crate) dead_lettered: usize,
    /// Tasks that break I1.
    pub(crate) lost: usize,
    /// Tasks of which two outcomes were seen: I3.
    pub(crate) duplicated: usize,
    /// How many tasks were executed how often.
    pub(crate) executions: BTreeMap<usize, usize>,
    /// From the first submission to the last result, in milliseconds.
    pub(crate) took_ms: u64,
    /// Results a second.
    pub(crate) throughput: f64,
    /// Each fault, and how long after its beginning the next result came.
    pub(crate) recoveries: Vec<Recovery>,
    /// Lines of the ledger that were torn by a kill.
    pub(crate) torn_lines: usize,
}

/// A fault and the first result after it began.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Recovery {
    /// What was done.
    pub(crate) harm: Harm,
    /// To whom.
    pub(crate) target: Target,
    /// When, in milliseconds from the beginning of the run.
    pub(crate) at_ms: u64,
    /// How long it lasted, in milliseconds.
    pub(crate) lasted_ms: u64,
    /// Milliseconds until the next result was stored; none came: the run was over.
    pub(crate) next_result_ms: Option<u64>,
}

impl Summary {
    /// The numbers of a ledger, in which the checks found `findings`.
    pub(crate) fn of(ledger: &Ledger, findings: &[Finding]) -> Self {
        let mut summary = Self {
            lost: offences(findings, "I1"),
            duplicated: offences(findings, "I3"),
            torn_lines: ledger.torn,
            ..Self::default()
        };
        for account in ledger.tasks.values() {
            summary.attempted += usize::from(!account.intents_ms.is_empty());
            summary.accepted += usize::from(account.was_accepted());
            *summary
                .executions
                .entry(account.executions.len())
                .or_default() += 1;
            if let Some(stored) = &account.stored {
                *summary.counter(stored.outcome) += 1;
            }
        }
        let stored = stored_times(ledger);
        let first = ledger
            .tasks
            .values()
            .filter_map(|account| account.intents_ms.first())
            .min();
        if let (Some(&first), Some(&last)) = (first, stored.last()) {
            summary.took_ms = last.saturating_sub(first);
            summary.throughput = stored.len() as f64 * 1_000.0 / summary.took_ms.max(1) as f64;
        }
        summary.recoveries = recoveries(ledger, &stored);
        summary
    }

    fn counter(&mut self, outcome: Outcome) -> &mut usize {
        match outcome {
            Outcome::Completed => &mut self.completed,
            Outcome::Failed => &mut self.failed,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::Cancelled => &mut self.cancelled,
            Outcome::Unknown => &mut self.unknown,
            Outcome::DeadLettered => &mut self.dead_lettered,
        }
    }

    /// The counts with their names, in the order in which they are told.
    pub(crate) fn counts(&self) -> [(&'static str, usize); 10] {
        [
            ("attempted", self.attempted),
            ("accepted", self.accepted),
            ("completed", self.completed),
            ("failed", self.failed),
            ("timed out", self.timed_out),
            ("cancelled", self.cancelled),
            ("unknown", self.unknown),
            ("dead-lettered", self.dead_lettered),
            ("lost", self.lost),
            ("duplicated outcomes", self.duplicated),
        ]
    }

    /// The recovery times by harm, each list from the shortest to the longest.
    pub(crate) fn recovery_by_harm(&self) -> BTreeMap<Harm, Vec<u64>> {
        let mut by_harm: BTreeMap<Harm, Vec<u64>> = BTreeMap::new();
        for recovery in &self.recoveries {
            let times = by_harm.entry(recovery.harm).or_default();
            times.extend(recovery.next_result_ms);
        }
        by_harm.values_mut().for_each(|times| times.sort_unstable());
        by_harm
    }
}

fn offences(findings: &[Finding], name: &str) -> usize {
    let found = findings.iter().find(|finding| finding.name == name);
    found.map_or(0, |finding| finding.offences.len())
}

/// When results were stored, by time.
pub(crate) fn stored_times(ledger: &Ledger) -> Vec<u64> {
    let stored = ledger
        .tasks
        .values()
        .filter_map(|account| account.stored.as_ref());
    let mut times: Vec<u64> = stored.map(|stored| stored.at_ms).collect();
    times.sort_unstable();
    times
}

fn recoveries(ledger: &Ledger, stored: &[u64]) -> Vec<Recovery> {
    let recovery = |struck: &super::ledger::lines::Struck| {
        let next = stored.partition_point(|&at| at <= struck.from_ms);
        Recovery {
            harm: struck.fault.harm,
            target: struck.fault.target,
            at_ms: struck.from_ms.saturating_sub(ledger.run.began_ms),
            lasted_ms: struck.to_ms.saturating_sub(struck.from_ms),
            next_result_ms: stored.get(next).map(|at| at - struck.from_ms),
        }
    };
    ledger.faults.iter().map(recovery).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::ledger::lines::{Struck, View};
    use crate::chaos::plan::Fault;

    #[test]
    fn a_fault_is_over_with_the_next_result() {
        let mut ledger = Ledger::default();
        for (task, at_ms) in [("t0", 1_000), ("t1", 4_000)] {
            let account = ledger.tasks.entry(task.to_owned()).or_default();
            account.intents_ms.push(900);
            account.stored = Some(View {
                task: task.to_owned(),
                at_ms,
                outcome: Outcome::Completed,
                worker: String::new(),
                attempt: 1,
                started_at_ms: 0,
                run: None,
            });
        }
        ledger.faults = [1_500, 5_000]
            .map(|from_ms| Struck {
                fault: Fault {
                    at_ms: 0,
                    lasts_ms: 500,
                    harm: Harm::ServerKill,
                    target: Target::Server,
                    latency_ms: 0,
                },
                from_ms,
                to_ms: from_ms + 500,
            })
            .to_vec();
        let summary = Summary::of(&ledger, &[]);
        let next: Vec<_> = summary
            .recoveries
            .iter()
            .map(|recovery| recovery.next_result_ms)
            .collect();
        assert_eq!(next, [Some(2_500), None]);
        assert_eq!(
            (summary.completed, summary.attempted, summary.took_ms),
            (2, 2, 3_100)
        );
        assert_eq!(summary.executions, BTreeMap::from([(0, 2)]));
    }
}
