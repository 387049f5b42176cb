//! Tasks that their workers do not survive, and so never acknowledge, among many good ones.

mod support;

use std::time::Duration;

use a3s_shared::broker::{Replayed, Replays};
use a3s_shared::protocol::{Outcome, RetryPolicy, SessionLane};
use futures::StreamExt;
use support::supervisor::Supervised;
use support::{Job, Rig, shell};

/// The good tasks beside the bad one.
const GOOD: usize = 999;

/// Far more than all tasks take on a busy machine, and what a task may take.
const LONG: Duration = Duration::from_secs(300);

/// Submits many tasks, some at a time, and returns their ids in order.
async fn submit_all(rig: &Rig, jobs: impl IntoIterator<Item = Job>) -> Vec<String> {
    let submitted = futures::stream::iter(jobs).map(|job| rig.submit(job));
    submitted.buffered(32).collect().await
}

#[tokio::test]
async fn a_task_that_aborts_its_worker_takes_no_other_task_with_it() {
    let rig = Rig::start().await;
    let good = (0..GOOD).map(|n| shell(SessionLane::Query, &format!("echo {n}")));
    let mut jobs: Vec<Job> = good.collect();
    // The parent of the shell is its worker.
    jobs.insert(
        GOOD / 2,
        shell(
            SessionLane::Query,
            "echo x >> deaths; kill -ABRT $PPID; sleep 60",
        ),
    );
    let jobs = jobs.into_iter().map(|job| Job {
        timeout: LONG,
        ..job
    });
    let mut ids = submit_all(&rig, jobs).await;

    let mut workers = Supervised::start(3, |n| rig.worker(&format!("w{n}"), &["-j", "4"]));
    let results = workers.until_stored(&rig, ids.len() as u64, LONG).await;

    let poison = ids.swap_remove(GOOD / 2);
    assert_eq!(results.len(), GOOD + 1);
    for result in &results {
        let expected = match result.task_id == poison {
            true => Outcome::DeadLettered,
            false => Outcome::Completed,
        };
        assert_eq!(result.outcome(), expected, "{result:?}");
    }
    let attempts = Job::default().retry.max_attempts() as usize;
    assert_eq!(workers.deaths, attempts, "one for each attempt");
    assert_eq!(rig.file("deaths").lines().count(), attempts);
    let letters = rig.broker.dead_letters(None).await.expect("dead letters");
    let buried: Vec<_> = letters.iter().map(|letter| &letter.task_id).collect();
    assert_eq!(buried, [&poison]);
    rig.nothing_is_left().await;
}

/// As long as this file is in the workspace, every tenth task aborts its worker.
const CRUEL: &str = "cruel";

/// Tasks of which every tenth is never acknowledged.
const MIXED: usize = 200;

fn mixed(n: usize) -> Job {
    let cruelty = format!("[ -e {CRUEL} ] && kill -ABRT $PPID && sleep 60; ");
    let tenth = n.is_multiple_of(10);
    let cruelty = if tenth { &cruelty } else { "" };
    let retry = RetryPolicy {
        max_retries: if tenth { 1 } else { 9 },
        ..RetryPolicy::default()
    };
    let job = shell(SessionLane::Query, &format!("{cruelty}echo {n}"));
    Job {
        timeout: LONG,
        retry,
        ..job
    }
}

async fn what_is_never_acknowledged_is_buried_and_can_be_replayed(rig: Rig) {
    std::fs::write(rig.workspace().join(CRUEL), "").expect("a file");
    let ids = submit_all(&rig, (0..MIXED).map(mixed)).await;
    let mut workers = Supervised::start(3, |n| rig.worker(&format!("w{n}"), &["-j", "1"]));
    let results = workers.until_stored(&rig, ids.len() as u64, LONG).await;
    rig.nothing_is_left().await;

    let buried = results
        .iter()
        .filter(|r| r.outcome() == Outcome::DeadLettered);
    let done = results.iter().filter(|r| r.outcome() == Outcome::Completed);
    assert_eq!((buried.count(), done.count()), (20, 180));
    let mut letters = rig.broker.dead_letters(None).await.expect("dead letters");
    letters.sort_by_key(|letter| ids.iter().position(|id| *id == letter.task_id));
    assert_eq!(letters.len(), 20);
    for (n, letter) in letters.iter().enumerate() {
        assert_eq!(letter.task_id, ids[n * 10]);
        assert_eq!(letter.payload, mixed(n * 10).payload);
        assert_eq!(letter.attempts, 2);
        let error = "2 attempts were started and none ended: each lost its worker";
        assert_eq!(letter.error, error);
    }

    std::fs::remove_file(rig.workspace().join(CRUEL)).expect("it was there");
    let mut replays = Replays::new(&rig.broker);
    for letter in &letters {
        let replayed = replays.replay(letter).await;
        assert_eq!(replayed.expect("it is replayed"), Replayed::Now);
    }
    let results = workers.until_stored(&rig, ids.len() as u64, LONG).await;
    let done = results.iter().filter(|r| r.outcome() == Outcome::Completed);
    assert_eq!(done.count(), MIXED);
    let letters = rig.broker.dead_letters(None).await.expect("dead letters");
    assert_eq!(letters, []);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn every_tenth_task_is_buried_on_one_server() {
    what_is_never_acknowledged_is_buried_and_can_be_replayed(Rig::start().await).await;
}

#[tokio::test]
async fn every_tenth_task_is_buried_on_a_cluster_of_three() {
    what_is_never_acknowledged_is_buried_and_can_be_replayed(Rig::on_a_cluster().await).await;
}
