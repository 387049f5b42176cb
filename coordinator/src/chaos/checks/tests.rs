//! Every check passes on a healthy ledger and fails on a broken one: otherwise it is no check.

use a3s_shared::protocol::{Effect, Outcome};
use proptest::prelude::*;

use super::{INVARIANTS, check};
use crate::chaos::ledger::lines::{Letter, Run, Struck, View, WorkerLife};
use crate::chaos::ledger::{Account, Execution, Ledger};
use crate::chaos::plan::{Fault, Harm, Target};
use crate::chaos::workload::{Shape, Spec};

const WORKER: u32 = 77;

/// A run in which nothing went wrong.
fn healthy(seed: u64, tasks: usize) -> Ledger {
    let mut ledger = Ledger {
        run: Run {
            seed,
            tasks,
            lease_ms: 3_000,
            ..Run::default()
        },
        workers: vec![WorkerLife {
            id: "w1".to_owned(),
            pid: WORKER,
            from_ms: 0,
        }],
        ..Ledger::default()
    };
    for index in 0..tasks {
        let spec = Spec::of(seed, index);
        ledger.tasks.insert(spec.id(), account(&spec));
    }
    ledger
}

fn account(spec: &Spec) -> Account {
    let begin = 1_000 + spec.index as u64 * 10;
    let outcome = match spec.shape {
        Shape::Quick | Shape::Slow(_) | Shape::Large | Shape::AsksAgain => Outcome::Completed,
        Shape::Fails => Outcome::Failed,
        Shape::Hopeless => Outcome::DeadLettered,
        Shape::TooSlow { .. } => Outcome::TimedOut,
        Shape::Cancelled { .. } => Outcome::Cancelled,
    };
    let status = match outcome {
        Outcome::Completed => Some(0),
        Outcome::Failed => Some(3),
        Outcome::DeadLettered => Some(75),
        _ => None,
    };
    let run = format!("{}-1", spec.index);
    let view = View {
        task: spec.id(),
        at_ms: begin + 8,
        outcome,
        worker: "w1".to_owned(),
        attempt: 1,
        started_at_ms: begin + 2,
        run: matches!(outcome, Outcome::Completed | Outcome::Failed).then(|| run.clone()),
    };
    Account {
        intents_ms: vec![begin],
        last_submit_ms: begin + 1,
        accepted_ms: Some(begin + 2),
        views: vec![view.clone()],
        executions: vec![Execution {
            run,
            worker_pid: WORKER,
            start_ms: begin + 3,
            end: status.map(|status| (begin + 5, status)),
        }],
        stored: Some(view),
        letter: (outcome == Outcome::DeadLettered).then(|| Letter {
            task: spec.id(),
            attempts: 1,
        }),
        troubles: Vec::new(),
    }
}

/// The names of the invariants that a ledger breaks.
fn broken(ledger: &Ledger) -> Vec<&'static str> {
    let findings = check(ledger);
    let broken = findings
        .iter()
        .filter(|finding| !finding.offences.is_empty());
    broken.map(|finding| finding.name).collect()
}

/// Breaks one thing of the first task that `fits`, and says which invariants notice.
fn after(fits: impl Fn(&Spec) -> bool, harm: impl Fn(&mut Account)) -> Vec<&'static str> {
    let mut ledger = healthy(1, 500);
    let spec = (0..500)
        .map(|index| Spec::of(1, index))
        .find(|spec| fits(spec));
    let id = spec.expect("a run has tasks of every kind").id();
    harm(ledger.tasks.get_mut(&id).expect("it is in the ledger"));
    let offences = check(&ledger)
        .into_iter()
        .flat_map(|finding| finding.offences);
    assert!(offences.map(|offence| offence.task).all(|task| task == id));
    broken(&ledger)
}

fn quick(effect: Effect) -> impl Fn(&Spec) -> bool {
    move |spec| spec.shape == Shape::Quick && spec.effect == effect
}

fn again(account: &mut Account) {
    let mut second = account.executions[0].clone();
    second.run.push('b');
    account.executions.push(second);
}

#[test]
fn a_lost_task_is_found() {
    let found = after(quick(Effect::Once), |account| {
        account.stored = None;
        account.views.clear();
    });
    assert_eq!(found, ["I1"]);
}

#[test]
fn a_dead_letter_that_is_not_there_is_a_loss() {
    let hopeless = |spec: &Spec| spec.shape == Shape::Hopeless;
    assert_eq!(after(hopeless, |account| account.letter = None), ["I1"]);
}

#[test]
fn a_result_of_a_stranger_is_found() {
    let found = after(quick(Effect::Once), |account| account.intents_ms.clear());
    assert_eq!(found, ["I2"]);
}

#[test]
fn a_second_outcome_is_found() {
    let found = after(quick(Effect::Once), |account| {
        account.views[0].outcome = Outcome::Unknown;
    });
    assert_eq!(found, ["I3"]);
}

#[test]
fn a_letter_of_a_task_that_was_done_is_found() {
    let buried = |account: &mut Account| {
        account.letter = Some(Letter {
            task: String::new(),
            attempts: 0,
        });
    };
    assert_eq!(after(quick(Effect::Once), buried), ["I3"]);
}

#[test]
fn a_second_start_of_a_once_task_is_found() {
    assert_eq!(after(quick(Effect::Once), again), ["I4", "I5"]);
}

#[test]
fn a_second_start_that_no_fault_explains_is_found() {
    assert_eq!(after(quick(Effect::Idempotent), again), ["I4"]);
}

#[test]
fn a_second_start_after_a_fault_is_none_for_idempotent_tasks() {
    let mut ledger = healthy(1, 500);
    ledger.faults.push(Struck {
        fault: Fault {
            at_ms: 0,
            lasts_ms: 10_000,
            harm: Harm::WorkerKill,
            target: Target::Worker(0),
            latency_ms: 0,
        },
        from_ms: 1_000,
        to_ms: 10_000,
    });
    for (task, account) in &mut ledger.tasks {
        let index = Spec::index_of(task).expect("an id of ours");
        if Spec::of(1, index).effect == Effect::Idempotent {
            again(account);
        }
    }
    assert!(broken(&ledger).is_empty(), "{:?}", broken(&ledger));
}

#[test]
fn a_second_start_after_the_lease_is_none_for_idempotent_tasks() {
    let later = |account: &mut Account| {
        again(account);
        account.executions[1].start_ms += 3_000;
    };
    assert!(after(quick(Effect::Idempotent), later).is_empty());
    assert_eq!(after(quick(Effect::Once), later), ["I4", "I5"]);
}

#[test]
fn an_attempt_too_many_is_found() {
    let more = |account: &mut Account| {
        for view in account.views.iter_mut().chain(&mut account.stored) {
            view.attempt = 9;
        }
    };
    assert_eq!(after(quick(Effect::Idempotent), more), ["I5"]);
    let hopeless = |spec: &Spec| spec.shape == Shape::Hopeless;
    let letter = |account: &mut Account| {
        account.letter.as_mut().expect("it has one").attempts = 9;
    };
    assert_eq!(after(hopeless, letter), ["I5"]);
}

#[test]
fn a_start_after_the_deadline_is_found() {
    let late = |account: &mut Account| account.executions[0].start_ms += 32_000;
    assert_eq!(after(quick(Effect::Idempotent), late), ["I6"]);
}

#[test]
fn a_result_that_nobody_worked_for_is_found() {
    let harms: [fn(&mut Account); 4] = [
        |account| account.executions[0].run = "other".to_owned(),
        |account| account.executions[0].end = None,
        |account| account.executions[0].end = Some((9, 3)),
        |account| {
            for view in account.views.iter_mut().chain(&mut account.stored) {
                view.worker = "w2".to_owned();
            }
        },
    ];
    for harm in harms {
        assert_eq!(after(quick(Effect::Once), harm), ["I7"]);
    }
}

#[test]
fn what_stays_behind_is_found() {
    let mut ledger = healthy(1, 5);
    ledger.left.tasks.push("t0000001".to_owned());
    assert_eq!(broken(&ledger), ["I8"]);
    ledger.left = Default::default();
    ledger
        .left
        .leases
        .push(("pool-default-query".to_owned(), 1));
    assert_eq!(broken(&ledger), ["I8"]);
    ledger.left = Default::default();
    ledger.left.processes.push((1, "sleep".to_owned()));
    assert_eq!(broken(&ledger), ["I8"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_healthy_ledger_breaks_nothing(seed: u64, tasks in 0_usize..200) {
        prop_assert!(broken(&healthy(seed, tasks)).is_empty());
    }

    #[test]
    fn whichever_task_is_lost_is_named(seed: u64, lost in 0_usize..100) {
        let mut ledger = healthy(seed, 100);
        let id = Spec::of(seed, lost).id();
        ledger.tasks.get_mut(&id).expect("it is there").stored = None;
        let offences = (INVARIANTS[0].check)(&ledger);
        prop_assert_eq!(offences.len(), 1);
        prop_assert_eq!(&offences[0].task, &id);
    }

    #[test]
    fn whichever_once_task_starts_again_is_named(seed: u64) {
        let mut ledger = healthy(seed, 100);
        let mut expected = Vec::new();
        for index in 0..100 {
            let spec = Spec::of(seed, index);
            let asks = matches!(spec.shape, Shape::Hopeless);
            if spec.effect == Effect::Once && !asks {
                again(ledger.tasks.get_mut(&spec.id()).expect("it is there"));
                expected.push(spec.id());
            }
        }
        let found: Vec<String> =
            (INVARIANTS[3].check)(&ledger).into_iter().map(|offence| offence.task).collect();
        prop_assert_eq!(found, expected);
    }
}
