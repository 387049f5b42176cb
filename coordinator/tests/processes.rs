//! A session in more than one process: at the same time, and one after the other.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use a3s_coordinator::{Session, SessionQueueConfig, SubmitError, Task};
use a3s_shared::broker::TaskOptions;
use a3s_shared::protocol::{
    Effect, Encoding, EventKind, ExternalTask, LaneHandlerConfig, RetryPolicy, SessionLane,
    SessionState, TaskHandlerMode, clock,
};
use a3s_testkit::eventually;
use serde_json::json;
use support::{Bench, SOON, coordinator, echo, events_until, success};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

const EXECUTE: SessionLane = SessionLane::Execute;

async fn is_paused(session: &Session, expected: usize) {
    eventually("that many wait", SOON, || async {
        let waiting = session.queue_stats().await.pending_count();
        (waiting == expected)
            .then_some(())
            .ok_or(format!("{waiting} wait"))
    })
    .await;
}

#[tokio::test]
async fn a_killed_coordinator_started_again_does_not_double_what_runs() {
    let bench = Bench::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let worker = bench.play(&[EXECUTE], move |_| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.expect("open").forget();
            success(json!({}))
        }
    });
    let worker = worker.await;
    let url = bench.server.url().to_owned();
    // A runtime of its own, so that all of the first coordinator can be gone at once.
    let first = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let config = SessionQueueConfig::default().with_external_lanes();
            let session = coordinator(&url).await.session("s").config(config);
            let session = session.open().await.expect("a session");
            let mut events = session.subscribe().await;
            for _ in 0..6 {
                session
                    .submit(EXECUTE, Task::new("t", json!({})))
                    .await
                    .expect("taken");
            }
            for _ in 0..2 {
                events_until(&mut events, EventKind::Submitted).await;
            }
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(move || first.join())
        .await
        .expect("joined")
        .expect("no panic");
    eventually("two run", SOON, || async {
        let running = worker.running.load(Ordering::SeqCst);
        (running == 2).then_some(()).ok_or(format!("{running} run"))
    })
    .await;
    let session = bench.external("s").await;
    let mut results = JoinSet::new();
    for _ in 0..6 {
        results.spawn(
            session
                .submit(EXECUTE, Task::new("t", json!({})))
                .await
                .expect("taken"),
        );
    }
    let stats = session.queue_stats().await;
    assert_eq!(
        (stats.pending_count(), stats.active_count()),
        (6, 2),
        "the slots are still taken"
    );
    gate.add_permits(100);
    while let Some(result) = timeout(SOON, results.join_next()).await.expect("bounded") {
        assert!(result.expect("joined").expect("a result").success);
    }
    assert_eq!(worker.most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_task_whose_time_is_over_holds_no_slot_after_a_restart() {
    let bench = Bench::start().await;
    let stale = ExternalTask {
        task_id: "stale".to_owned(),
        session_id: "s".to_owned(),
        lane: SessionLane::Generate,
        command_type: "t".to_owned(),
        payload: json!({}),
        timeout_ms: 1,
        deadline_ms: clock::now_ms(),
    };
    let options = TaskOptions {
        effect: Effect::Once,
        retry: RetryPolicy::none(),
        encoding: Encoding::Json,
        traceparent: None,
        workspace: None,
    };
    let first = bench.external("s").await;
    bench
        .broker()
        .submit(&stale, first.route(), &options)
        .await
        .expect("stored");
    let session = coordinator(bench.server.url()).await.session("s");
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = session.config(config).open().await.expect("a session");
    let task = Task::new("t", json!({}));
    let _handle = session
        .submit(SessionLane::Generate, task)
        .await
        .expect("taken");
    let waiting = session.queue_stats().await.pending_count();
    assert_eq!(waiting, 0, "the slot is free");
}

#[tokio::test]
async fn a_pause_in_one_process_holds_the_others() {
    let bench = Bench::start().await;
    let _worker = bench.play(&[EXECUTE], echo).await;
    let here = bench.external("s").await;
    let far = coordinator(bench.server.url()).await;
    let there = far.session("s").open().await.expect("the same session");
    there.pause().await.expect("confirmed");
    eventually("it is paused here", SOON, || async {
        let handle = here
            .submit(EXECUTE, Task::new("t", json!({})))
            .await
            .expect("taken");
        let quick = timeout(Duration::from_millis(200), handle).await;
        quick.err().map(drop).ok_or("a task was started")
    })
    .await;
    let again = coordinator(bench.server.url()).await;
    let config = SessionQueueConfig::default().with_external_lanes();
    let third = again
        .session("s")
        .config(config)
        .open()
        .await
        .expect("the same session");
    let waits = third
        .submit(EXECUTE, Task::new("t", json!({})))
        .await
        .expect("taken");
    is_paused(&third, 1).await;
    there.resume().await.expect("confirmed");
    assert!(
        timeout(SOON, waits)
            .await
            .expect("bounded")
            .expect("a result")
            .success
    );
    is_paused(&here, 0).await;
}

#[tokio::test]
async fn a_lane_set_in_the_record_reaches_a_running_session() {
    let bench = Bench::start().await;
    let session = bench
        .coordinator
        .session("s")
        .open()
        .await
        .expect("a session");
    let (mut record, revision) = bench
        .broker()
        .session("s")
        .await
        .expect("an answer")
        .expect("a record");
    let handler = LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        timeout_ms: 1_234,
    };
    record.lanes.insert("query".to_owned(), handler);
    bench
        .broker()
        .update_session(&record, revision)
        .await
        .expect("written");
    eventually("the handler is the record's", SOON, || async {
        let now = session.get_lane_handler(SessionLane::Query).await;
        (now == handler).then_some(()).ok_or(format!("{now:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_session_ended_elsewhere_ends_here_and_can_be_opened_again() {
    let bench = Bench::start().await;
    let session = bench.external("s").await;
    let (mut record, revision) = bench
        .broker()
        .session("s")
        .await
        .expect("an answer")
        .expect("a record");
    record.state = SessionState::Closed;
    bench
        .broker()
        .update_session(&record, revision)
        .await
        .expect("written");
    eventually("it takes no tasks", SOON, || async {
        let task = Task::new("t", json!({})).timeout_ms(50);
        match session.submit(EXECUTE, task).await {
            Err(SubmitError::Closed { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    session.close().await;
    let _worker = bench.play(&[EXECUTE], echo).await;
    let again = bench.external("s").await;
    let handle = again
        .submit(EXECUTE, Task::new("t", json!({})))
        .await
        .expect("taken");
    assert!(handle.await.expect("a result").success);
}

#[tokio::test]
async fn a_restarted_session_never_reuses_a_task_id() {
    let bench = Bench::start().await;
    let mut ids = HashSet::new();
    for _ in 0..3 {
        let session = bench.external("s").await;
        for _ in 0..20 {
            let task = Task::new("t", json!({})).timeout_ms(50);
            let handle = session
                .submit(SessionLane::Query, task)
                .await
                .expect("taken");
            assert!(ids.insert(handle.task_id().to_owned()));
        }
    }
}
