//! I8: what stayed behind when the workers had drained.

use super::{Offence, offence};
use crate::chaos::ledger::Ledger;

/// Tasks in a stream, leases, and processes of tools.
pub(super) fn behind(ledger: &Ledger) -> Vec<Offence> {
    let left = &ledger.left;
    let tasks = left
        .tasks
        .iter()
        .map(|task| offence(task, "still in its stream"));
    let leases = left
        .leases
        .iter()
        .map(|(consumer, count)| offence(consumer, format!("{count} leases are open")));
    let processes = left
        .processes
        .iter()
        .map(|(pid, command)| offence(&format!("process {pid}"), format!("still runs: {command}")));
    tasks.chain(leases).chain(processes).collect()
}
