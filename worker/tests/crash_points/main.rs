//! What comes of a task when its worker dies, freezes or loses its link at each step of a
//! delivery: a table of 36 rows, and processes that have it happen to them.

#[path = "../support/mod.rs"]
mod support;
mod victim;

use std::io::Write;
use std::sync::Arc;

use a3s_shared::protocol::Effect::{self, Idempotent, Once};
use a3s_shared::protocol::Outcome::{self, Completed, Unknown};
use a3s_shared::protocol::{RetryPolicy, Route};
use a3s_testkit::{Process, ProcessBuilder, Proxy, eventually};
use a3s_worker::steps::Step::{self, *};
use futures::StreamExt;
use support::{BOUND, Job, Rig};
use victim::LEASE;

/// What happens to the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is gone at once: `process::abort`.
    Abort,
    /// It is frozen for two leases: SIGSTOP, SIGCONT.
    Freeze,
    /// Its connection is dropped, and none is to be had for two leases.
    Unlink,
}

/// Who answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The worker that it happened to.
    Victim,
    /// The one that was started after.
    Rescuer,
}

/// How often the tool began, what came out, which attempt it was (0: none of its own), and who
/// said so.
type Seen = (usize, Outcome, u32, By);

/// The outcome by effect and step, for a worker that is aborted, frozen, or cut off.
///
/// A frozen worker starts nothing when it wakes, so one that stopped before the tool began is as
/// good as dead. One that is cut off does not know it yet, and goes on until its lease is over:
/// an `idempotent` tool runs beside its second attempt, and a `once` tool runs that was claimed.
#[rustfmt::skip]
const TABLE: [(Effect, Step, [Seen; 3]); 12] = {
    use By::{Rescuer, Victim};
    const NEVER_RAN: Seen = (0, Unknown, 0, Rescuer);
    const RAN_PERHAPS: Seen = (1, Unknown, 0, Rescuer);
    const DONE: Seen = (1, Completed, 1, Victim);
    const ANEW: Seen = (1, Completed, 1, Rescuer);
    const SECOND: Seen = (1, Completed, 2, Rescuer);
    const TWICE: Seen = (2, Completed, 2, Rescuer);
    [
        //                             abort        freeze       unlink
        (Idempotent, Pulled,          [SECOND,      SECOND,      TWICE]),
        (Idempotent, Claimed,         [SECOND,      SECOND,      TWICE]),
        (Idempotent, Started,         [TWICE,       TWICE,       TWICE]),
        (Idempotent, Finished,        [TWICE,       TWICE,       TWICE]),
        (Idempotent, ResultPublished, [DONE,        DONE,        DONE]),
        (Idempotent, Acked,           [DONE,        DONE,        DONE]),
        (Once,       Pulled,          [ANEW,        ANEW,        ANEW]),
        (Once,       Claimed,         [NEVER_RAN,   NEVER_RAN,   RAN_PERHAPS]),
        (Once,       Started,         [RAN_PERHAPS, RAN_PERHAPS, RAN_PERHAPS]),
        (Once,       Finished,        [RAN_PERHAPS, RAN_PERHAPS, RAN_PERHAPS]),
        (Once,       ResultPublished, [DONE,        DONE,        DONE]),
        (Once,       Acked,           [DONE,        DONE,        DONE]),
    ]
};

const FAULTS: [Fault; 3] = [Fault::Abort, Fault::Freeze, Fault::Unlink];

/// Rows that run at a time: mostly they wait for a lease.
const AT_A_TIME: usize = 9;

#[tokio::test]
async fn every_crash_point_has_the_outcome_that_the_table_says() {
    let rig = Arc::new(Rig::start().await);
    let mut rows = Vec::new();
    for (effect, step, expected) in TABLE {
        for (fault, expected) in FAULTS.into_iter().zip(expected) {
            rows.push((effect, step, fault, expected));
        }
    }
    let played = futures::stream::iter(rows).map(|(effect, step, fault, expected)| {
        let rig = Arc::clone(&rig);
        async move {
            let row = format!("{effect:?} {step:?} {fault:?}");
            // A task of its own, so that a row that cannot be played does not hide the others.
            let played = tokio::spawn(async move { play(&rig, effect, step, fault).await }).await;
            match played {
                Ok(seen) if seen == expected => None,
                Ok(seen) => Some(format!("{row}: {seen:?}, not {expected:?}")),
                Err(error) => Some(format!("{row}: {error}")),
            }
        }
    });
    let wrong: Vec<_> = played.buffer_unordered(AT_A_TIME).collect().await;
    let wrong: Vec<_> = wrong.into_iter().flatten().collect();
    assert!(
        wrong.is_empty(),
        "{} rows:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Its only attempt dies with its worker; the one who gives it up dies too, before or after each
/// thing that is left to do.
#[tokio::test]
async fn a_task_that_is_given_up_has_one_letter_whoever_dies_meanwhile() {
    let rig = Rig::start().await;
    for step in [Buried, ResultPublished, Acked] {
        let pool = format!("given-up-{step:?}");
        let url = rig.server.url();
        let worker = |who: &str, halt: Step| {
            let id = format!("{who}-{pool}");
            victim::worker_halted_at(halt, url, &pool, &id, rig.workspace())
        };
        let mut first = ready(worker("v1", Started)).await;
        let job = Job {
            command: victim::MARK,
            effect: Idempotent,
            retry: RetryPolicy::none(),
            route: Route::Pool(pool.clone()),
            timeout: BOUND * 4,
            ..Job::default()
        };
        let id = rig.submit(job).await;
        first.wait_for("halted at Started", BOUND).await;
        let mut second = abort(&mut first, worker("v2", step)).await;
        let halted = format!("halted at {step:?}");
        second.wait_for(&halted, BOUND).await;
        let third = victim::worker(url, &pool, &format!("r-{pool}"), rig.workspace());
        let _third = abort(&mut second, third).await;

        let result = rig.result(&id).await;
        assert_eq!(result.outcome(), Outcome::DeadLettered, "{step:?}");
        nothing_is_left_of(&rig, &pool).await;
        assert_eq!(results(&rig, &id).await, 1, "{step:?}");
        assert_eq!(rig.file(&id).lines().count(), 1, "{step:?}: it ran once");
        let letters = rig.broker.dead_letters(None).await.expect("an answer");
        let letters = letters.iter().filter(|letter| letter.task_id == id);
        assert_eq!(letters.count(), 1, "{step:?}");
    }
}

/// Has one row happen. Each has a pool of its own, so that all can share a server.
async fn play(rig: &Rig, effect: Effect, step: Step, fault: Fault) -> Seen {
    let pool = format!("{effect:?}-{step:?}-{fault:?}");
    let proxy = Proxy::to(rig.server.url()).await;
    let dir = rig.workspace();
    let victim = victim::worker_halted_at(step, proxy.url(), &pool, &format!("v-{pool}"), dir);
    let mut victim = ready(victim).await;
    let id = submit(rig, &pool, effect).await;
    victim.wait_for(&format!("halted at {step:?}"), BOUND).await;

    let rescuer = victim::worker(rig.server.url(), &pool, &format!("r-{pool}"), dir);
    let mut rescuer = match fault {
        Fault::Abort => abort(&mut victim, rescuer).await,
        Fault::Freeze => freeze(&mut victim, rescuer).await,
        Fault::Unlink => unlink(&mut victim, (rig, &proxy, &id), rescuer).await,
    };
    let result = rig.result(&id).await;
    nothing_is_left_of(rig, &pool).await;
    // Both say what they have to say, so that what they must not say would be here.
    for worker in [&mut rescuer, &mut victim] {
        worker.terminate();
        worker.wait(BOUND).await;
    }
    assert_eq!(result, rig.result(&id).await, "the outcome is the same");
    assert_eq!(results(rig, &id).await, 1, "one result is stored");
    nothing_is_left_of(rig, &pool).await;

    let by = match result.worker_id.starts_with("v-") {
        true => By::Victim,
        false => By::Rescuer,
    };
    (
        rig.file(&id).lines().count(),
        result.outcome(),
        result.attempt,
        by,
    )
}

async fn submit(rig: &Rig, pool: &str, effect: Effect) -> String {
    rig.submit(Job {
        command: victim::MARK,
        effect,
        retry: match effect {
            Idempotent => RetryPolicy::default(),
            Once => RetryPolicy::none(),
        },
        route: Route::Pool(pool.to_owned()),
        timeout: BOUND * 4,
        ..Job::default()
    })
    .await
}

async fn ready(worker: ProcessBuilder) -> Process {
    let worker = worker.start();
    worker.wait_for("ready for tasks", BOUND).await;
    worker
}

/// What the halted victim waits for.
fn tell(victim: &mut Process, word: &str) {
    let mut stdin = victim.stdin().expect("nothing was said yet");
    writeln!(stdin, "{word}").expect("the victim listens");
}

async fn abort(victim: &mut Process, rescuer: ProcessBuilder) -> Process {
    tell(victim, victim::ABORT);
    let status = victim.wait(BOUND).await;
    assert!(!status.success(), "it was aborted: {status}");
    ready(rescuer).await
}

async fn freeze(victim: &mut Process, rescuer: ProcessBuilder) -> Process {
    victim.stop_process();
    let rescuer = ready(rescuer).await;
    tokio::time::sleep(LEASE * 2).await;
    // Only now: a stop takes a moment to reach every thread, and this one is halted anyhow.
    tell(victim, "go on");
    victim.continue_process();
    rescuer
}

/// The link is back when the other worker has answered: what the victim has kept for the broker
/// comes too late then, however slow the machine.
async fn unlink(
    victim: &mut Process,
    (rig, proxy, id): (&Rig, &Proxy, &str),
    rescuer: ProcessBuilder,
) -> Process {
    let connections = |wanted: fn(usize) -> bool| {
        eventually("another number of connections", BOUND, move || {
            let open = proxy.connections();
            let there = wanted(open).then_some(());
            std::future::ready(there.ok_or(format!("{open} are open")))
        })
    };
    proxy.cut();
    connections(|open| open == 0).await;
    tell(victim, "go on");
    let rescuer = ready(rescuer).await;
    tokio::time::sleep(LEASE * 2).await;
    rig.result(id).await;
    proxy.heal();
    connections(|open| open > 0).await;
    rescuer
}

/// No task of this pool is in the stream.
async fn nothing_is_left_of(rig: &Rig, pool: &str) {
    eventually("the task is gone", BOUND, async || {
        let filter = format!("a3s.s.*.{pool}");
        let left = rig.broker.scan("A3S_TASKS", &filter, 1).await;
        let left = left.map_err(|e| e.to_string())?.len();
        (left == 0).then_some(()).ok_or(format!("{left} are left"))
    })
    .await;
}

/// How many results of a task are stored.
async fn results(rig: &Rig, id: &str) -> usize {
    let filter = rig.broker.names().result("s", id);
    let found = rig.broker.scan("A3S_RESULTS", &filter, 1).await;
    found.expect("the broker answers").len()
}
