//! Which of a pool's workers gets a task: real workers, told how far they are or when to help.

mod support;

use a3s_shared::broker::{PoolPolicy, Settings};
use a3s_shared::protocol::{Presence, Route, SessionLane};
use a3s_testkit::eventually;
use support::{BOUND, Job, Rig, shell};

const POOL: &str = "web";

#[tokio::test]
async fn a_burst_goes_to_the_nearest_worker_as_long_as_it_has_slots() {
    let rig = Rig::start().await;
    let far = ["--pool", POOL, "-j", "4", "--distance", "5"];
    let _far = rig.ready_worker("far", &far).await;
    let near = ["--pool", POOL, "-j", "4", "--distance", "0"];
    let _near = rig.ready_worker("near", &near).await;
    waits(&rig, "near").await;
    // Twice: the second time by pulls that were sent for the slots that came back.
    for _ in 0..2 {
        assert_eq!(who_runs(&rig, 4, "sleep 0.5").await, ["near"; 4]);
        is_idle(&rig, "near").await;
    }
    let mut six = who_runs(&rig, 6, "sleep 2").await;
    six.sort();
    assert_eq!(six, ["far", "far", "near", "near", "near", "near"]);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn who_says_no_distance_comes_last_and_is_served_all_the_same() {
    let rig = Rig::start().await;
    let told = ["--pool", POOL, "-j", "1", "--distance", "8"];
    let _told = rig.ready_worker("told", &told).await;
    let silent = ["--pool", POOL, "-j", "1"];
    let _silent = rig.ready_worker("silent", &silent).await;
    waits(&rig, "told").await;
    assert_eq!(who_runs(&rig, 1, "true").await, ["told"]);
    waits(&rig, "silent").await;
    let mut both = who_runs(&rig, 2, "sleep 2").await;
    both.sort();
    assert_eq!(both, ["silent", "told"]);
}

#[tokio::test]
async fn a_worker_goes_on_while_the_pulls_of_helpers_wait_for_their_threshold() {
    let rig = Rig::start().await;
    let helper = ["--pool", POOL, "-j", "8", "--help-when", "100"];
    let mut helpers = Vec::new();
    for id in ["helper-1", "helper-2", "helper-3"] {
        helpers.push(rig.ready_worker(id, &helper).await);
    }
    let main = ["--pool", POOL, "-j", "1"];
    let _main = rig.ready_worker("main", &main).await;
    waits(&rig, "helper-3").await;
    // Fewer tasks wait than the helpers' pulls ask for, when the worker asks anew.
    assert_eq!(who_runs(&rig, 8, "true").await, ["main"; 8]);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_pool_keeps_its_policy_and_says_so_to_who_needs_another() {
    let rig = Rig::start().await;
    let near = ["--pool", POOL, "--distance", "0"];
    let _near = rig.ready_worker("near", &near).await;
    let mut refused = rig.worker("helper", &["--pool", POOL, "--help-when", "5"]);
    let status = refused.wait(BOUND).await;
    assert_eq!(status.code(), Some(3));
    let said = refused.stderr();
    let next = "a3s-coordinator pool web --policy overflow";
    assert!(
        said.contains("has the policy near") && said.contains(next),
        "{said}"
    );
    policies(&rig, PoolPolicy::Near).await;
}

#[tokio::test]
async fn a_policy_can_change_while_tasks_wait_and_nothing_else_of_the_pool_does() {
    let rig = Rig::start().await;
    let settings = Settings::default();
    let created = rig.broker.ensure_pool(POOL, &settings).await;
    assert_eq!(created.expect("a pool"), []);
    let waiting = rig.submit(job("true")).await;
    for policy in [PoolPolicy::Overflow, PoolPolicy::Near, PoolPolicy::Any] {
        let changed = rig.broker.set_pool_policy(POOL, policy).await;
        changed.expect("the policy is changed");
        policies(&rig, policy).await;
        let drift = rig.broker.ensure_pool(POOL, &settings).await;
        assert_eq!(drift.expect("a pool"), [], "{policy:?}");
    }
    let _worker = rig.ready_worker("w", &["--pool", POOL]).await;
    assert!(rig.result(&waiting).await.success);
}

async fn policies(rig: &Rig, expected: PoolPolicy) {
    let found = rig.broker.pool_policy(POOL).await.expect("a pool");
    let all = SessionLane::ALL.map(|lane| (lane, Some(expected)));
    assert_eq!(found, all);
}

fn job(command: &str) -> Job {
    Job {
        route: Route::Pool(POOL.to_owned()),
        ..shell(SessionLane::Query, command)
    }
}

/// Submits so many tasks at once and returns who ran each.
async fn who_runs(rig: &Rig, count: usize, command: &str) -> Vec<String> {
    let submitted = (0..count).map(|_| rig.submit(job(command)));
    let ids = futures::future::join_all(submitted).await;
    let mut workers = Vec::new();
    for id in ids {
        let result = rig.result(&id).await;
        assert!(result.success, "{result:?}");
        workers.push(result.worker_id);
    }
    workers
}

/// Waits until a worker's pulls wait at the broker: what tells is their heartbeat, two seconds on.
async fn waits(rig: &Rig, worker: &str) {
    let fleet = rig.broker.watch_fleet().await.expect("the fleet");
    eventually("a worker whose pulls wait", BOUND, async || {
        let workers = fleet.workers();
        let waits =
            |p: &&Presence| p.worker_id == worker && p.last_pull_ms >= p.started_at_ms + 1_900;
        workers
            .iter()
            .find(waits)
            .map(drop)
            .ok_or(format!("{workers:?}"))
    })
    .await;
}

/// Waits until a worker has free slots only, and has said so to the broker: its second answer comes
/// after the pulls that it sent when it had none running at the first.
async fn is_idle(rig: &Rig, worker: &str) {
    let subject = rig.broker.names().worker_endpoint(worker);
    let mut idle = 0;
    while idle < 2 {
        let answer = rig
            .broker
            .client()
            .request(subject.clone(), "".into())
            .await;
        let answer = answer.expect("the worker answers").payload;
        let presence: Presence = serde_json::from_slice(&answer).expect("a heartbeat");
        idle = if presence.busy == 0 { idle + 1 } else { 0 };
    }
}
