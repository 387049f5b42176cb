//! What the processes of a session share through the broker: the rate limit, and the count of
//! what is queued and runs.

mod support;

use std::sync::Arc;
use std::time::Duration;

use a3s_coordinator::{
    Coordinator, RateLimitConfig, Session, SessionCommand, SessionQueueConfig, Task,
};
use a3s_shared::protocol::{Route, SessionLane};
use a3s_testkit::eventually;
use futures::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Bench, Player, SOON, coordinator, success};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

const QUERY: SessionLane = SessionLane::Query;

/// When each command started, and in which process.
type Starts = Arc<Mutex<Vec<(Instant, usize)>>>;

/// Notes its start.
struct Note(Starts, usize);

#[async_trait::async_trait]
impl SessionCommand for Note {
    async fn execute(&self) -> anyhow::Result<Value> {
        self.0.lock().push((Instant::now(), self.1));
        Ok(Value::Null)
    }

    fn command_type(&self) -> &str {
        "note"
    }
}

async fn limited(coordinator: &Coordinator, per_second: u64) -> Session {
    let config = SessionQueueConfig {
        rate_limit: Some(RateLimitConfig::new("per_second", per_second)),
        query_max_concurrency: 1_000,
        ..SessionQueueConfig::default()
    };
    let session = coordinator.session("s").config(config);
    session.open().await.expect("a session")
}

/// Runs commands to their end.
async fn run(session: &Session, commands: usize, starts: &Starts, process: usize) {
    let mut handles = Vec::new();
    for _ in 0..commands {
        let note = Note(Arc::clone(starts), process);
        handles.push(session.submit(QUERY, note).await.expect("taken"));
    }
    for handle in timeout(SOON, join_all(handles)).await.expect("bounded") {
        handle.expect("a result");
    }
}

/// Two processes of one session, with one limit.
#[tokio::test]
async fn two_coordinators_share_a_limit_and_idle_time_costs_nothing() {
    const PER_SECOND: u32 = 20;
    // A token that is granted starts its task a moment later.
    const SLACK: f64 = 0.25;
    let bench = Bench::start().await;
    let far = coordinator(bench.server.url()).await;
    let here = limited(&bench.coordinator, PER_SECOND.into()).await;
    let there = limited(&far, PER_SECOND.into()).await;
    let starts = Starts::default();
    tokio::join!(run(&here, 30, &starts, 0), run(&there, 30, &starts, 1));
    let seen = starts.lock().clone();
    for (first, (begin, _)) in seen.iter().enumerate() {
        for (last, (end, _)) in seen.iter().enumerate().skip(first) {
            let window = end.duration_since(*begin).as_secs_f64() + SLACK;
            let most = f64::from(PER_SECOND) * (1.0 + window);
            let count = u32::try_from(last - first + 1).expect("few");
            assert!(f64::from(count) <= most, "{count} in {window} s");
        }
    }
    // Both make progress: neither waits for the other to be done.
    let half = &seen[..40];
    for process in [0, 1] {
        let started = half.iter().filter(|start| start.1 == process).count();
        assert!(started >= 3, "process {process} started {started} of 40");
    }
    // The bucket is empty. Time alone fills it again, whoever is there.
    sleep(Duration::from_millis(1_300)).await;
    let began = Instant::now();
    run(&there, PER_SECOND as usize, &starts, 1).await;
    let took = began.elapsed();
    assert!(took < Duration::from_millis(700), "a burst took {took:?}");
}

#[tokio::test]
async fn a_fast_limit_does_not_cost_a_request_a_task() {
    let bench = Bench::start().await;
    let session = limited(&bench.coordinator, 2_000).await;
    let starts = Starts::default();
    run(&session, 1_000, &starts, 0).await;
    let (_, writes) = bench
        .broker()
        .bucket("s")
        .await
        .expect("an answer")
        .expect("a bucket");
    assert!(writes <= 250, "{writes} requests for 1,000 tasks");
}

#[tokio::test]
async fn a_limit_goes_on_when_the_broker_comes_back() {
    let mut bench = Bench::start().await;
    let session = limited(&bench.coordinator, 5).await;
    let starts = Starts::default();
    run(&session, 1, &starts, 0).await;
    bench.server.kill();
    let note = Note(Arc::clone(&starts), 0);
    let mut handle = session.submit(QUERY, note).await.expect("taken");
    let early = timeout(Duration::from_millis(300), &mut handle).await;
    assert!(early.is_err(), "it started without a token");
    bench.server.start_again().await;
    let result = timeout(SOON, handle).await.expect("bounded");
    assert!(result.expect("a result").success);
}

#[tokio::test]
async fn stats_count_what_the_broker_has_of_all_processes() {
    for route in [Route::Pool("default".into()), Route::Own] {
        let bench = Bench::start().await;
        let far = coordinator(bench.server.url()).await;
        let config = SessionQueueConfig {
            query_max_concurrency: 3,
            ..Default::default()
        };
        let config = config.with_external_lanes();
        let mut sessions = Vec::new();
        let mut handles = Vec::new();
        for coordinator in [&bench.coordinator, &far] {
            let session = coordinator
                .session("s")
                .route(route.clone())
                .config(config.clone());
            sessions.push(session.open().await.expect("a session"));
        }
        for session in &sessions {
            for _ in 0..5 {
                let task = Task::new("t", json!({}));
                handles.push(session.submit(QUERY, task).await.expect("taken"));
            }
        }
        let gate = Arc::new(Semaphore::new(0));
        let closed = Arc::clone(&gate);
        let answer = move |_| {
            let gate = Arc::clone(&closed);
            async move {
                gate.acquire().await.expect("open").forget();
                success(json!({}))
            }
        };
        let _worker = Player::start(bench.broker(), route.clone(), "s", &[QUERY], answer).await;
        let own = route == Route::Own;
        for session in &sessions {
            // In a pool each process that was there from the start has the lane's cap.
            let (active, waiting) = if own { (10, 0) } else { (6, 2) };
            is(session, "stored", active, |query| query.active).await;
            is(session, "running", own.then_some(3), |query| query.running).await;
            let stats = session.queue_stats().await;
            assert_eq!(stats.pending_count(), waiting, "{route:?}");
            assert_eq!(stats.external_count(), active + waiting, "{route:?}");
        }
        gate.add_permits(100);
        for handle in timeout(SOON, join_all(handles)).await.expect("bounded") {
            handle.expect("a result");
        }
        is(&sessions[0], "left", 0, |query| query.active).await;
        is(&sessions[0], "running", Some(0), |query| query.running).await;
    }
}

/// Waits until a number of lane Query is `expected`.
async fn is<N: PartialEq + std::fmt::Debug + Copy>(
    session: &Session,
    what: &str,
    expected: N,
    read: impl Fn(&a3s_coordinator::LaneStatus) -> N,
) {
    eventually(what, SOON, || async {
        let found = read(&session.queue_stats().await.per_lane()["Query"]);
        (found == expected)
            .then_some(())
            .ok_or(format!("{found:?}, not {expected:?}"))
    })
    .await;
}
