//! Tasks that this process runs itself: Internal and Hybrid lanes, the callback, the host.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a3s_coordinator::{
    AlertLevel, PriorityBoostConfig, RateLimitConfig, RetryPolicyConfig, Session, SessionCommand,
    SessionQueueConfig, Task,
};
use a3s_shared::protocol::{
    EventKind, ExternalTask, ExternalTaskResult, Outcome, SessionLane, TaskHandlerMode,
};
use futures::FutureExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Bench, SOON, echo, events_until, handler, success};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

const QUERY: SessionLane = SessionLane::Query;

/// A command that does what the test says.
struct Does<F>(&'static str, F);

#[async_trait::async_trait]
impl<F, Fut> SessionCommand for Does<F>
where
    F: Fn() -> Fut + Send + Sync,
    Fut: Future<Output = anyhow::Result<Value>> + Send,
{
    async fn execute(&self) -> anyhow::Result<Value> {
        (self.1)().await
    }

    fn command_type(&self) -> &str {
        self.0
    }
}

async fn open(bench: &Bench, config: SessionQueueConfig) -> Session {
    bench
        .coordinator
        .session("s")
        .config(config)
        .open()
        .await
        .expect("a session")
}

#[tokio::test]
async fn an_internal_command_runs_here_and_answers() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default()).await;
    let command = Does("add", || async { Ok(json!(1 + 1)) });
    let result = session
        .submit(QUERY, command)
        .await
        .expect("taken")
        .await
        .expect("a result");
    assert_eq!(result.result, json!(2));
    assert_eq!(
        (result.attempt, result.worker_id.as_str()),
        (1, "coordinator")
    );
    assert_eq!(bench.tasks_stored().await, 0);
}

#[tokio::test]
async fn hundreds_of_answers_are_taken_by_one_poll_of_who_waits_for_all() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default()).await;
    let mut handles = Vec::new();
    for _ in 0..600 {
        let command = Does("nothing", || async { Ok(Value::Null) });
        handles.push(session.submit(QUERY, command).await.expect("taken"));
    }
    // Each has an answer then, one that did not start too.
    session.close().await;
    let answers = futures::future::join_all(handles).now_or_never();
    let answers = answers.expect("none is left for another poll");
    assert_eq!(answers.len(), 600);
}

#[tokio::test]
async fn a_panic_is_a_failure_and_frees_the_slot() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default()).await;
    for _ in 0..3 {
        let command = Does("bad", || async { panic!("of course") });
        let handle = session
            .submit(SessionLane::Generate, command)
            .await
            .expect("taken");
        let result = timeout(SOON, handle)
            .await
            .expect("bounded")
            .expect("a result");
        assert_eq!(
            result.error.as_deref(),
            Some("the command panicked: of course")
        );
    }
}

#[tokio::test]
async fn a_command_without_end_is_ended_by_its_lanes_timeout() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        lane_timeouts: HashMap::from([(QUERY, 80)]),
        ..SessionQueueConfig::default().with_timeout(60_000)
    };
    let session = open(&bench, config).await;
    let mut events = session.subscribe().await;
    let command = Does("sleep", || async { std::future::pending().await });
    let handle = session.submit(QUERY, command).await.expect("taken");
    let result = timeout(SOON, handle)
        .await
        .expect("bounded")
        .expect("a result");
    assert_eq!(result.outcome(), Outcome::TimedOut);
    session.close().await;
    let seen = events_until(&mut events, EventKind::ShutdownComplete).await;
    let timeouts = seen.iter().filter(|event| event.kind == EventKind::Timeout);
    assert_eq!(timeouts.count(), 1);
    let ends = [
        EventKind::Completed,
        EventKind::Failed,
        EventKind::DeadLettered,
    ];
    assert!(
        !seen.iter().any(|event| ends.contains(&event.kind)),
        "{seen:#?}"
    );
}

#[tokio::test]
async fn g_e_q_c_submitted_while_paused_run_as_c_q_e_g() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default()).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let hold = Arc::new(Semaphore::new(0));
    session.pause().await.expect("confirmed");
    let mut handles = Vec::new();
    // Control runs while paused: its slots are taken, so that it too waits.
    for _ in 0..2 {
        let hold = Arc::clone(&hold);
        let command = Does("hold", move || {
            let hold = Arc::clone(&hold);
            async move {
                hold.acquire().await.expect("open").forget();
                Ok(json!(null))
            }
        });
        handles.push(
            session
                .submit(SessionLane::Control, command)
                .await
                .expect("taken"),
        );
    }
    for lane in SessionLane::ALL.into_iter().rev() {
        let order = Arc::clone(&order);
        let command = Does("note", move || {
            order.lock().push(lane);
            async { Ok(json!(null)) }
        });
        handles.push(session.submit(lane, command).await.expect("taken"));
    }
    assert!(order.lock().is_empty(), "nothing starts while paused");
    hold.add_permits(2);
    session.resume().await.expect("confirmed");
    for handle in handles {
        timeout(SOON, handle)
            .await
            .expect("bounded")
            .expect("a result");
    }
    let order = order.lock().clone();
    let of_others: Vec<_> = order
        .into_iter()
        .filter(|l| *l != SessionLane::Control)
        .collect();
    assert_eq!(
        of_others,
        [QUERY, SessionLane::Execute, SessionLane::Generate]
    );
}

#[tokio::test]
async fn a_failing_command_runs_once_unless_the_policy_says_more() {
    let bench = Bench::start().await;
    let policies = [(None, 1), (Some(RetryPolicyConfig::fixed(2, 20)), 3)];
    for (policy, runs) in policies {
        let config = SessionQueueConfig {
            retry_policy: policy,
            ..Default::default()
        };
        let session = open(&bench, config.with_metrics()).await;
        let mut events = session.subscribe().await;
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ran);
        let command = Does("fail", move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { anyhow::bail!("not today") }
        });
        let handle = session
            .submit(SessionLane::Execute, command)
            .await
            .expect("taken");
        let result = timeout(SOON, handle)
            .await
            .expect("bounded")
            .expect("a result");
        assert_eq!(result.error.as_deref(), Some("not today"));
        assert_eq!(ran.load(Ordering::SeqCst), runs);
        let seen = events_until(&mut events, EventKind::Failed).await;
        let retries = seen.iter().filter(|event| event.kind == EventKind::Retry);
        assert!(retries.clone().all(|event| event.delay_ms.is_some()));
        assert_eq!(retries.count(), runs - 1);
        let metrics = session.queue_metrics().await.expect("enabled");
        assert_eq!(
            metrics.counters["lane.commands.retried.execute"],
            runs as u64 - 1
        );
        session.close().await;
    }
}

#[tokio::test]
async fn with_the_dlq_enabled_a_failed_command_is_kept_whole() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default().with_dlq(None)).await;
    let command = Does("fail", || async { anyhow::bail!("not today") });
    let handle = session.submit(QUERY, command).await.expect("taken");
    let result = handle.await.expect("a result");
    assert_eq!(result.outcome(), Outcome::DeadLettered);
    let letters = session.dead_letters().await.expect("an answer");
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].task_id.as_str(), letters[0].attempts),
        (result.task_id.as_str(), 1)
    );
    assert_eq!(letters[0].error, "not today");
    assert!(!letters[0].body.is_empty());
}

#[tokio::test]
async fn a_hybrid_task_is_told_to_the_world() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default()).await;
    session
        .set_lane_handler(QUERY, handler(TaskHandlerMode::Hybrid, 60_000))
        .await;
    let mut world = bench
        .broker()
        .subscribe_events(Some("s"))
        .await
        .expect("listening");
    for fail in [false, true] {
        let command = Does("work", move || async move {
            anyhow::ensure!(!fail, "broken");
            Ok(json!("done"))
        });
        session
            .submit(QUERY, command)
            .await
            .expect("taken")
            .await
            .expect("a result");
        let last = if fail {
            EventKind::Failed
        } else {
            EventKind::Completed
        };
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.push(
                timeout(SOON, world.next())
                    .await
                    .expect("in time")
                    .expect("an event"),
            );
        }
        let kinds: Vec<_> = seen.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Submitted, EventKind::Started, last]);
        assert_eq!(seen[2].error.as_deref(), fail.then_some("broken"));
        assert!(seen[2].duration_ms.is_some());
    }
}

#[tokio::test]
async fn a_changed_handler_concerns_later_tasks_only() {
    let bench = Bench::start().await;
    let session = open(&bench, SessionQueueConfig::default()).await;
    let go = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&go);
    let first = Does("first", move || {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await.expect("open").forget();
            Ok(json!("here"))
        }
    });
    let first = session.submit(QUERY, first).await.expect("taken");
    let external = handler(TaskHandlerMode::External, 5_000);
    session.set_lane_handler(QUERY, external).await;
    assert_eq!(session.get_lane_handler(QUERY).await, external);
    let _worker = bench.play(&[QUERY], echo).await;
    let second = session
        .submit(QUERY, Task::new("t", json!(7)))
        .await
        .expect("taken");
    assert_eq!(second.await.expect("a result").result["echo"], 7);
    go.add_permits(1);
    assert_eq!(first.await.expect("a result").result, "here");
}

#[tokio::test]
async fn the_callback_handles_external_tasks_here() {
    let bench = Bench::start().await;
    let session = bench.external("s").await;
    session
        .set_external_task_handler(|task: ExternalTask| async move {
            assert!(!task.is_timed_out() && task.remaining_ms() > 0);
            match task.command_type.as_str() {
                "read" => success(json!({"content": "text"})),
                other => ExternalTaskResult {
                    error: Some(format!("Unknown command type: {other}")),
                    ..ExternalTaskResult::default()
                },
            }
        })
        .await;
    let read = session
        .submit_by_tool("read", Task::new("read", json!({})))
        .await
        .expect("taken");
    assert_eq!(read.await.expect("a result").result["content"], "text");
    let odd = session
        .submit_by_tool("odd", Task::new("odd", json!({})))
        .await
        .expect("taken");
    let error = odd.await.expect("a result").error;
    assert_eq!(error.as_deref(), Some("Unknown command type: odd"));
    assert_eq!(bench.tasks_stored().await, 0);
}

#[tokio::test]
async fn a_host_pulls_and_completes_tasks_each_once() {
    let bench = Bench::start().await;
    let session = bench.external("s").await;
    assert!(session.pending_external_tasks().await.is_empty());
    let mut handles = Vec::new();
    for n in 0..8 {
        let task = Task::new("t", json!({ "n": n }));
        handles.push(session.submit(QUERY, task).await.expect("taken"));
    }
    let poller = |session: Session| async move {
        let mut ids = Vec::new();
        let began = Instant::now();
        while began.elapsed() < SOON && session.queue_stats().await.external_count() > 0 {
            for task in session.pending_external_tasks().await {
                let answer = success(task.payload.clone());
                assert!(
                    session
                        .complete_external_task(&task.task_id, answer.clone())
                        .await
                );
                assert!(
                    !session.complete_external_task(&task.task_id, answer).await,
                    "twice"
                );
                ids.push(task.task_id);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        ids
    };
    let (mut a, b) = tokio::join!(poller(session.clone()), poller(session.clone()));
    a.extend(b);
    a.sort();
    a.dedup();
    assert_eq!(a.len(), 8);
    for (n, handle) in handles.into_iter().enumerate() {
        assert_eq!(handle.await.expect("a result").result["n"], n);
    }
    let unknown = session
        .complete_external_task("never", success(json!(1)))
        .await;
    assert!(!unknown);
    assert_eq!(bench.tasks_stored().await, 0);
}

#[tokio::test]
async fn a_rate_limit_holds_and_idle_time_costs_no_token() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        rate_limit: Some(RateLimitConfig::new("per_second", 5)),
        query_max_concurrency: 100,
        ..SessionQueueConfig::default()
    };
    let session = open(&bench, config).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let began = Instant::now();
    let mut handles = Vec::new();
    for _ in 0..8 {
        let command = Does("quick", || async { Ok(json!(null)) });
        handles.push(session.submit(QUERY, command).await.expect("taken"));
    }
    let mut ends = Vec::new();
    for handle in handles {
        timeout(SOON, handle)
            .await
            .expect("bounded")
            .expect("a result");
        ends.push(began.elapsed());
    }
    assert!(
        ends[4] < Duration::from_millis(190),
        "the bucket was not full: {ends:?}"
    );
    assert!(
        ends[7] >= Duration::from_millis(600),
        "three tokens take 600 ms: {ends:?}"
    );
}

#[tokio::test]
async fn metrics_pressure_and_alerts_are_recorded_and_told() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        pressure_threshold: Some(10),
        priority_boost: Some(PriorityBoostConfig::new("standard")),
        ..SessionQueueConfig::default().with_lane_features()
    };
    let session = open(&bench, config).await;
    let (mut events, mut alerts) = (session.subscribe().await, session.subscribe_alerts());
    session.pause().await.expect("confirmed");
    let mut handles = Vec::new();
    for _ in 0..60 {
        let command = Does("quick", || async { Ok(json!(null)) });
        handles.push(session.submit(QUERY, command).await.expect("taken"));
    }
    let alert = timeout(SOON, alerts.recv())
        .await
        .expect("in time")
        .expect("an alert");
    assert_eq!(
        (alert.level, alert.lane_id.as_str()),
        (AlertLevel::Warning, "query")
    );
    session.resume().await.expect("confirmed");
    for handle in handles {
        assert!(handle.await.expect("a result").success);
    }
    let metrics = session.queue_metrics().await.expect("enabled");
    assert_eq!((metrics.total_processed, metrics.success_rate), (60, 1.0));
    assert_eq!(metrics.counters["lane.commands.submitted.query"], 60);
    assert_eq!(
        metrics.histograms["lane.command.wait_time_ms.query"].count,
        60
    );
    assert!(metrics.p99_latency >= metrics.p95_latency);
    let seen = events_until(&mut events, EventKind::Idle).await;
    for kind in [EventKind::Pressure, EventKind::Alert] {
        assert_eq!(
            seen.iter().filter(|event| event.kind == kind).count(),
            1,
            "{kind:?}"
        );
    }
}

#[tokio::test]
async fn closing_ends_what_runs_without_end() {
    let bench = Bench::start().await;
    let session = bench
        .coordinator
        .session("s")
        .close_grace(Duration::from_millis(50));
    let session = session.open().await.expect("a session");
    let command = Does("sleep", || async { std::future::pending().await });
    let handle = session.submit(QUERY, command).await.expect("taken");
    timeout(SOON, session.close()).await.expect("bounded");
    let result = handle.await.expect("a result");
    assert_eq!(result.outcome(), Outcome::Cancelled);
    assert_eq!(result.error.as_deref(), Some("its session was closed"));
}

#[tokio::test]
async fn bad_configurations_and_ids_are_refused_at_the_door() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        query_max_concurrency: 0,
        ..Default::default()
    };
    assert!(
        bench
            .coordinator
            .session("s")
            .config(config)
            .open()
            .await
            .is_err()
    );
    assert!(bench.coordinator.session("a.b").open().await.is_err());
    let session = bench.external("s").await;
    let task = |id: &str| Task::new("t", json!({})).id(id).timeout_ms(200);
    assert!(session.submit(QUERY, task("a b")).await.is_err());
    let _first = session.submit(QUERY, task("same")).await.expect("taken");
    let error = session
        .submit(QUERY, task("same"))
        .await
        .expect_err("it is there");
    assert!(error.to_string().starts_with("task same is there already"));
}
