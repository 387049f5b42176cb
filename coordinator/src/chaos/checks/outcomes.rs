//! I1, I2, I3 and I7: what became of the tasks.

use a3s_shared::protocol::Outcome;

use super::{Offence, offence};
use crate::chaos::ledger::lines::View;
use crate::chaos::ledger::{Account, Ledger};

/// I1: accepted tasks without an outcome at the broker, and dead letters that are not there.
pub(super) fn lost(ledger: &Ledger) -> Vec<Offence> {
    let lost = ledger.tasks.iter().filter_map(|(task, account)| {
        let what = match &account.stored {
            None if account.was_accepted() => match account.views.first() {
                Some(view) => format!("was {} and its result is gone", view.outcome),
                None => format!("accepted, and no outcome; {}", story(account)),
            },
            Some(stored) if stored.outcome == Outcome::DeadLettered && account.letter.is_none() => {
                "dead-lettered, and there is no letter".to_owned()
            }
            _ => return None,
        };
        Some(offence(task, what))
    });
    lost.collect()
}

fn story(account: &Account) -> String {
    let troubles = account.troubles.join("; ");
    format!("{} executions; {troubles}", account.executions.len())
}

/// I2: results, letters and executions of tasks that nobody submitted.
pub(super) fn of_strangers(ledger: &Ledger) -> Vec<Offence> {
    let strangers = ledger
        .tasks
        .iter()
        .filter(|(_, account)| account.intents_ms.is_empty());
    strangers
        .map(|(task, account)| {
            let what = match &account.stored {
                Some(stored) => format!("never submitted, and {}", stored.outcome),
                None => "never submitted, and known all the same".to_owned(),
            };
            offence(task, what)
        })
        .collect()
}

/// I3: tasks of which two outcomes were seen: by the caller, by a listener, or at the broker at
/// the end.
pub(super) fn contradicted(ledger: &Ledger) -> Vec<Offence> {
    let contradicted = ledger.tasks.iter().filter_map(|(task, account)| {
        let mut views = account.views.iter().chain(&account.stored);
        let first = views.next()?;
        let what = match views.find(|view| !view.agrees(first)) {
            Some(other) => format!("{}, and {}", told(first), told(other)),
            None if first.outcome == Outcome::Completed && account.letter.is_some() => {
                format!("{}, and buried", told(first))
            }
            None => return None,
        };
        Some(offence(task, what))
    });
    contradicted.collect()
}

fn told(view: &View) -> String {
    let View {
        outcome,
        worker,
        attempt,
        ..
    } = view;
    format!("{outcome} by {worker} (attempt {attempt})")
}

/// I7: results that no execution in the ledger stands behind. A worker that lost its lease and
/// changed an outcome is here or in I3.
pub(super) fn without_execution(ledger: &Ledger) -> Vec<Offence> {
    let unfounded = ledger.tasks.iter().filter_map(|(task, account)| {
        let stored = account.stored.as_ref()?;
        let why = unfounded(ledger, account, stored)?;
        Some(offence(task, format!("{}: {why}", told(stored))))
    });
    unfounded.collect()
}

fn unfounded(ledger: &Ledger, account: &Account, stored: &View) -> Option<String> {
    let ran = matches!(stored.outcome, Outcome::Completed | Outcome::Failed);
    let Some(run) = stored.run.as_ref().filter(|_| ran) else {
        return (stored.outcome == Outcome::Completed).then(|| "it names no execution".to_owned());
    };
    let executions = &account.executions;
    let Some(execution) = executions.iter().find(|execution| execution.run == *run) else {
        return Some(format!("there was no execution {run}"));
    };
    let Some((_, status)) = execution.end else {
        return Some(format!("execution {run} never came to its end"));
    };
    if (status == 0) != (stored.outcome == Outcome::Completed) {
        return Some(format!("execution {run} ended with status {status}"));
    }
    let worker = ledger.worker(execution.worker_pid, execution.start_ms)?;
    (worker != stored.worker).then(|| format!("execution {run} was of worker {worker}"))
}
