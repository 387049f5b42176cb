//! I4, I5 and I6: how often the tool was started, and when.

use a3s_shared::protocol::Effect;

use super::{Offence, offence};
use crate::chaos::ledger::{Account, Ledger};
use crate::chaos::plan::Harm;
use crate::chaos::workload::Spec;

/// How much later than its deadline a task may start, in milliseconds.
const LATE_MS: u64 = 1_000;

/// The exit status of an execution that asked for another one.
const ASKED: i32 = 75;

/// The tasks of the run with what they are; strangers are I2's.
fn known(ledger: &Ledger) -> impl Iterator<Item = (&String, &Account, Spec)> {
    let seed = ledger.run.seed;
    let tasks = ledger.tasks.iter();
    tasks.filter_map(move |(task, account)| {
        Some((task, account, Spec::of(seed, Spec::index_of(task)?)))
    })
}

/// I4: `once` tasks that were started again though nobody asked for it, and others that were
/// started more often than faults, retries and leases explain.
pub(super) fn too_often(ledger: &Ledger) -> Vec<Offence> {
    let found = known(ledger).filter_map(|(task, account, spec)| {
        let starts = account.executions.len();
        let explained = match spec.effect {
            Effect::Once => 0,
            Effect::Idempotent => {
                faults_that_hit(ledger, account) + leases_that_ended(ledger, account)
            }
        };
        let allowed = 1 + asked(account) + explained;
        let what = format!(
            "{}, started {starts} times, {allowed} explained",
            spec.effect
        );
        (starts > allowed).then(|| offence(task, what))
    });
    found.collect()
}

/// Starts so long after the one before that its lease may have ended without any fault of ours: on
/// a machine that is busy with other things a worker is not heard in time. Half a lease, because
/// the first start may have been late and the second one quick.
fn leases_that_ended(ledger: &Ledger, account: &Account) -> usize {
    let pairs = account.executions.windows(2);
    let apart = pairs.map(|pair| pair[1].start_ms.saturating_sub(pair[0].start_ms));
    apart
        .filter(|&apart| ledger.run.lease_ms > 0 && apart >= ledger.run.lease_ms / 2)
        .count()
}

/// Executions that asked for another one.
fn asked(account: &Account) -> usize {
    let ends = account
        .executions
        .iter()
        .filter_map(|execution| execution.end);
    ends.filter(|&(_, status)| status == ASKED).count()
}

/// Faults between the task's first submission and its last start. A fault that was over just
/// before may still be felt: connections come back one after the other.
fn faults_that_hit(ledger: &Ledger, account: &Account) -> usize {
    hits(ledger, account, |_| true)
}

fn hits(ledger: &Ledger, account: &Account, counts: impl Fn(Harm) -> bool) -> usize {
    const FELT_MS: u64 = 5_000;
    let first = account.intents_ms.first().copied().unwrap_or(0);
    let last = account.executions.last().map_or(0, |last| last.start_ms);
    let faults = ledger.faults.iter();
    faults
        .filter(|struck| counts(struck.fault.harm))
        .filter(|struck| struck.from_ms <= last && struck.to_ms + FELT_MS >= first)
        .count()
}

/// I5: tasks with more attempts than they may have, by their results, their letters or the
/// executions themselves. An execution more is no attempt when a drain ended the one before, when
/// the server was killed before it had written down that it delivered, or when the caller, who did
/// not hear of the task, submitted it again under its id.
pub(super) fn beyond_attempts(ledger: &Ledger) -> Vec<Offence> {
    let uncounted = |harm| matches!(harm, Harm::WorkerDrain | Harm::ServerKill);
    let found = known(ledger).filter_map(|(task, account, spec)| {
        let most = spec.max_attempts();
        let answered = account.stored.as_ref().map_or(0, |stored| stored.attempt);
        let buried = account.letter.as_ref().map_or(0, |letter| letter.attempts);
        let tries = account.intents_ms.len().max(1);
        let starts = most as usize * tries + hits(ledger, account, uncounted);
        let what = match account.executions.len() {
            _ if answered > most => format!("its result is of attempt {answered} of {most}"),
            _ if buried > most => format!("its letter tells of {buried} attempts of {most}"),
            executions if executions > starts => {
                format!("{executions} executions of {most} attempts, submitted {tries} times")
            }
            _ => return None,
        };
        Some(offence(task, what))
    });
    found.collect()
}

/// I6: executions that began after the deadline.
pub(super) fn too_late(ledger: &Ledger) -> Vec<Offence> {
    let found = known(ledger).filter_map(|(task, account, spec)| {
        let deadline = account.last_submit_ms + spec.timeout_ms();
        let last = account.executions.last()?;
        let late = last.start_ms.checked_sub(deadline + LATE_MS)?;
        let what = format!("started {} ms after its deadline", late + LATE_MS);
        (late > 0).then(|| offence(task, what))
    });
    found.collect()
}
