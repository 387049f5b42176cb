//! Tasks that their workers do not survive, among many good ones.

mod support;

use std::time::Duration;

use a3s_shared::protocol::{Outcome, SessionLane};
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
