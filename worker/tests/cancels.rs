//! A cancelled command is gone, with everything that it started in the background, within a
//! second.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use a3s_shared::protocol::{CancelMarker, ErrorKind, ExternalTask, SessionLane};
use a3s_testkit::eventually;
use futures::future::join_all;
use support::{BOUND, Job, Rig, shell};

/// How many are cancelled, and run at a time, in all.
const COUNT: usize = 100;

/// What 99 of 100 take at most, from the request to the last process.
const GONE_WITHIN: Duration = Duration::from_secs(1);

/// A shell, another one in the background, and two sleeps.
const TREE: &str = "(sleep 300)& sleep 300";

#[tokio::test]
async fn a_cancelled_tree_is_gone_within_a_second_whether_few_or_all_are_cancelled_at_once() {
    let rig = Rig::start().await;
    let slots = COUNT.to_string();
    let _worker = rig.ready_worker("w", &["-j", &slots]).await;
    for at_a_time in [COUNT / 10, COUNT] {
        let mut took = Vec::new();
        while took.len() < COUNT {
            took.extend(cancel_some(&rig, at_a_time).await);
        }
        took.sort();
        let (median, p99, longest) = (took[COUNT / 2], took[COUNT * 99 / 100 - 1], took[COUNT - 1]);
        println!("{at_a_time} at a time: median {median:?}, p99 {p99:?}, longest {longest:?}");
        assert!(p99 <= GONE_WITHIN, "{took:?}");
    }
    rig.nothing_is_left().await;
}

/// Starts some trees, cancels them in one moment, and says how long each went on.
async fn cancel_some(rig: &Rig, count: usize) -> Vec<Duration> {
    let jobs = (0..count).map(|_| Job {
        timeout: BOUND * 4,
        ..shell(SessionLane::Execute, TREE)
    });
    let tasks: Vec<ExternalTask> = join_all(jobs.map(|job| rig.submit_full(job))).await;
    let all: BTreeSet<String> = tasks.iter().map(|task| task.task_id.clone()).collect();
    eventually("every tree has two sleeps", BOUND, async || {
        let ready = sleeping(&all)
            .values()
            .filter(|sleeps| **sleeps == 2)
            .count();
        (ready == all.len())
            .then_some(())
            .ok_or(format!("{ready} have"))
    })
    .await;

    let asked = Instant::now();
    let marker = CancelMarker::default();
    let cancels = tasks.iter().map(|task| {
        let (session, id) = (&task.session_id, &task.task_id);
        rig.broker.cancel(session, id, &marker, task.deadline_ms)
    });
    let (_, took) = tokio::join!(join_all(cancels), gone(&all, asked));

    for id in &all {
        assert_eq!(rig.result(id).await.error_kind, Some(ErrorKind::Cancelled));
    }
    assert_eq!(living(&all), BTreeMap::new(), "nobody survives");
    took
}

/// How long after `asked` each task had no process any more.
async fn gone(all: &BTreeSet<String>, asked: Instant) -> Vec<Duration> {
    let mut open = all.clone();
    let mut took = Vec::new();
    while !open.is_empty() {
        assert!(
            asked.elapsed() < BOUND,
            "these live on: {:?}",
            living(&open)
        );
        let ids = open.clone();
        // On another thread, so that the cancels are sent meanwhile.
        let looked = tokio::task::spawn_blocking(move || living(&ids)).await;
        let living = looked.expect("it can be looked at");
        let before = open.len();
        open.retain(|id| living.contains_key(id));
        took.extend(std::iter::repeat_n(asked.elapsed(), before - open.len()));
    }
    took
}

/// The names of the living processes of each of these tasks.
fn living(ids: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::<String, Vec<String>>::new();
    let processes = std::fs::read_dir("/proc").expect("there is /proc");
    for process in processes.filter_map(Result::ok) {
        // One that ends while it is looked at has nothing to read.
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        let variables = environment.split(|byte| *byte == 0);
        let mut id = variables.filter_map(|v| v.strip_prefix(b"A3S_TASK_ID="));
        let id = id.next().map(|id| String::from_utf8_lossy(id).into_owned());
        if let Some(id) = id.filter(|id| ids.contains(id)) {
            let name = std::fs::read_to_string(process.path().join("comm"));
            let name = name.unwrap_or_default().trim().to_owned();
            found.entry(id).or_default().push(name);
        }
    }
    found
}

/// How many sleeps each of these tasks has.
fn sleeping(ids: &BTreeSet<String>) -> BTreeMap<String, usize> {
    let sleeps = |names: Vec<String>| names.iter().filter(|name| *name == "sleep").count();
    let living = living(ids).into_iter();
    living.map(|(id, names)| (id, sleeps(names))).collect()
}
