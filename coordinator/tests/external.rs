//! Tasks that go to workers, over a real server.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use a3s_coordinator::{SessionQueueConfig, SubmitError, Task, TaskError};
use a3s_shared::protocol::{Encoding, EventKind, ExternalTaskResult, Outcome, Route, SessionLane};
use a3s_testkit::{Proxy, eventually};
use serde_json::{Value, json};
use support::{Bench, Player, SOON, coordinator, echo, events_until, presence, success};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const QUERY: SessionLane = SessionLane::Query;

#[tokio::test]
async fn payloads_arrive_as_they_were_sent() {
    let bench = Bench::start().await;
    let _worker = bench.play(&[QUERY], echo).await;
    let payloads: [Value; 4] = [
        json!([]),
        json!({"most": i64::MAX, "least": i64::MIN, "half": 0.5}),
        json!("žluťoučký 🦀 \u{0} \"quoted\""),
        json!("x".repeat(1024 * 1024)),
    ];
    for (n, encoding) in [Encoding::MessagePack, Encoding::Json]
        .into_iter()
        .enumerate()
    {
        let config = SessionQueueConfig::default().with_external_lanes();
        let session = bench.coordinator.session(format!("s{n}")).config(config);
        let session = session.encoding(encoding).open().await.expect("a session");
        for payload in &payloads {
            let task = Task::new("echo", payload.clone());
            let handle = session.submit(QUERY, task).await.expect("taken");
            let result = handle.await.expect("a result");
            assert!(result.success, "{:?}", result.error);
            assert!(
                result.result["echo"] == *payload,
                "{encoding} changed a payload"
            );
        }
    }
}

#[tokio::test]
async fn what_a_failed_tool_printed_is_kept() {
    let bench = Bench::start().await;
    let _worker = bench
        .play(&[SessionLane::Execute], |_| async {
            ExternalTaskResult {
                success: false,
                result: json!({"stdout": "half of it"}),
                error: Some("exit code 1".into()),
                ..ExternalTaskResult::default()
            }
        })
        .await;
    let session = bench.external("s").await;
    let handle = session
        .submit_by_tool("bash", Task::new("bash", json!({})))
        .await
        .expect("taken");
    let result = handle.await.expect("a failed result is a result");
    assert_eq!(result.outcome(), Outcome::Failed);
    assert_eq!(result.result["stdout"], "half of it");
}

#[tokio::test]
async fn never_more_than_the_cap_is_queued_or_runs_in_a_pool() {
    let bench = Bench::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let worker = bench
        .play(&[QUERY], move |_| {
            let gate = Arc::clone(&opened);
            async move {
                gate.acquire().await.expect("open").forget();
                success(json!({}))
            }
        })
        .await;
    let session = bench.external("s").await;
    let mut results = JoinSet::new();
    for _ in 0..20 {
        results.spawn(
            session
                .submit(QUERY, Task::new("t", json!({})))
                .await
                .expect("taken"),
        );
    }
    eventually("four run", SOON, || async {
        let n = worker.running.load(Ordering::SeqCst);
        (n == 4).then_some(()).ok_or(format!("{n} run"))
    })
    .await;
    let stats = session.queue_stats().await;
    assert_eq!((stats.pending_count(), stats.active_count()), (16, 4));
    assert_eq!(stats.external_count(), 20);
    assert_eq!(bench.tasks_stored().await, 4);
    gate.add_permits(20);
    while let Some(result) = results.join_next().await {
        assert!(result.expect("joined").expect("a result").success);
    }
    assert_eq!(worker.most.load(Ordering::SeqCst), 4);
    assert_eq!(worker.started.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn in_an_own_lane_all_is_published_and_the_broker_holds_the_line() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        query_max_concurrency: 3,
        ..Default::default()
    };
    let session = bench
        .coordinator
        .session("mine")
        .config(config.with_external_lanes());
    let session = session.route(Route::Own).open().await.expect("a session");
    let mut results = JoinSet::new();
    for _ in 0..12 {
        results.spawn(
            session
                .submit(QUERY, Task::new("t", json!({})))
                .await
                .expect("taken"),
        );
    }
    eventually("all are active", SOON, || async {
        let stats = session.queue_stats().await;
        let done = stats.active_count() == 12 && stats.pending_count() == 0;
        done.then_some(()).ok_or(format!("{stats:?}"))
    })
    .await;
    let lanes = [QUERY];
    let worker = Player::start(bench.broker(), Route::Own, "mine", &lanes, |_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        success(json!({}))
    });
    let worker = worker.await;
    while let Some(result) = results.join_next().await {
        assert!(result.expect("joined").expect("a result").success);
    }
    let most = worker.most.load(Ordering::SeqCst);
    assert!(
        most <= 4,
        "{most} ran at a time; one may end while its ack is on its way"
    );
}

#[tokio::test]
async fn without_a_worker_the_coordinator_settles_at_the_deadline_and_leaves_nothing() {
    let bench = Bench::start().await;
    let session = bench.external("s").await;
    let mut events = session.subscribe().await;
    let began = Instant::now();
    let task = Task::new("t", json!({})).timeout_ms(300);
    let handle = session.submit(QUERY, task).await.expect("taken");
    let id = handle.task_id().to_owned();
    let result = timeout(SOON, handle)
        .await
        .expect("bounded")
        .expect("a result");
    assert_eq!(result.outcome(), Outcome::TimedOut);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(bench.tasks_stored().await, 0);
    let stored = session
        .result(&id)
        .await
        .expect("an answer")
        .expect("a stored result");
    assert_eq!(stored, result);
    session.close().await;
    let seen = events_until(&mut events, EventKind::ShutdownComplete).await;
    let of_task = seen.iter().filter(|event| event.task_id.is_some());
    let kinds: Vec<_> = of_task.map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Submitted, EventKind::Timeout]);
}

#[tokio::test]
async fn a_task_is_settled_at_its_deadline_though_nobody_holds_its_session_any_more() {
    let bench = Bench::start().await;
    let id = {
        let session = bench.external("s").await;
        let task = Task::new("t", json!({})).timeout_ms(300);
        let handle = session.submit(QUERY, task).await.expect("taken");
        handle.task_id().to_owned()
    };
    let result = eventually("it is settled", SOON, || async {
        let found = bench.broker().result("s", &id).await;
        found.expect("an answer").ok_or("no result".to_owned())
    })
    .await;
    assert_eq!(result.outcome(), Outcome::TimedOut);
    eventually("it is gone", SOON, || async {
        let n = bench.tasks_stored().await;
        (n == 0).then_some(()).ok_or(format!("{n} are there"))
    })
    .await;
}

#[tokio::test]
async fn who_waits_for_a_task_is_answered_though_its_process_closed_the_connection() {
    let bench = Bench::start().await;
    let session = bench.external("s").await;
    let mut events = session.subscribe().await;
    let task = Task::new("t", json!({})).timeout_ms(1_000);
    let handle = session.submit(QUERY, task).await.expect("taken");
    // It is told when the broker has accepted it.
    events_until(&mut events, EventKind::Submitted).await;
    session.leave().await;
    bench.coordinator.close().await;
    let answer = timeout(SOON, handle).await.expect("bounded");
    assert!(
        matches!(answer, Err(TaskError::NoAnswer { .. })),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_task_that_takes_long_is_looked_for_and_can_be_cancelled() {
    let bench = Bench::start().await;
    let _worker = bench
        .play(&[QUERY], |task| async move {
            // Longer than a submitter waits before it looks; the second one never ends by itself.
            match task.payload["n"].as_u64() {
                Some(1) => tokio::time::sleep(Duration::from_millis(5_500)).await,
                _ => std::future::pending().await,
            }
            success(task.payload)
        })
        .await;
    let session = bench.external("s").await;
    let submit = |n: u64| session.submit(QUERY, Task::new("t", json!({ "n": n })));
    let patient = submit(1).await.expect("taken");
    let given_up = submit(2).await.expect("taken");
    let result = patient.await.expect("a result");
    assert_eq!(result.result["n"], 1);
    assert!(given_up.cancel().await.expect("confirmed"));
    let result = given_up.await.expect("a result");
    assert_eq!(result.outcome(), Outcome::Cancelled, "{result:?}");
}

#[tokio::test]
async fn a_task_that_never_started_expires_in_its_lane() {
    let bench = Bench::start().await;
    let session = bench.external("s").await;
    let long = Task::new("t", json!({})).timeout_ms(60_000);
    for _ in 0..4 {
        session.submit(QUERY, long.clone()).await.expect("taken");
    }
    let short = session
        .submit(QUERY, long.timeout_ms(100))
        .await
        .expect("taken");
    let result = timeout(Duration::from_secs(2), short)
        .await
        .expect("no grace")
        .expect("a result");
    assert_eq!(result.outcome(), Outcome::TimedOut);
    assert!(
        result
            .error
            .expect("a reason")
            .contains("before it could start")
    );
}

#[tokio::test]
async fn a_cancelled_task_ends_wherever_it_is() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        query_max_concurrency: 1,
        ..Default::default()
    };
    let session = bench
        .coordinator
        .session("s")
        .config(config.with_external_lanes());
    let session = session.open().await.expect("a session");
    let queued = session
        .submit(QUERY, Task::new("t", json!({})))
        .await
        .expect("taken");
    let waiting = session
        .submit(QUERY, Task::new("t", json!({})))
        .await
        .expect("taken");
    eventually("one is queued", SOON, || async {
        let stored = bench.tasks_stored().await;
        (stored == 1)
            .then_some(())
            .ok_or(format!("{stored} stored"))
    })
    .await;
    assert!(waiting.cancel().await.expect("confirmed"));
    assert_eq!(
        waiting.await.expect("a result").outcome(),
        Outcome::Cancelled
    );
    assert!(queued.cancel().await.expect("confirmed"));
    let id = queued.task_id().to_owned();
    let result = timeout(SOON, queued)
        .await
        .expect("bounded")
        .expect("a result");
    assert_eq!(result.outcome(), Outcome::Cancelled);
    assert!(
        bench
            .broker()
            .is_cancelled("s", &id)
            .await
            .expect("an answer")
            .is_some()
    );
    assert_eq!(bench.tasks_stored().await, 0);
    assert!(
        !session.cancel(&id).await.expect("confirmed"),
        "it has ended"
    );
}

#[tokio::test]
async fn a_result_that_came_while_the_connection_was_cut_is_found() {
    let bench = Bench::start().await;
    let go = Arc::new(Notify::new());
    let (wait, done) = (Arc::clone(&go), Arc::new(Notify::new()));
    let _worker = bench
        .play(&[QUERY], move |_| {
            let wait = Arc::clone(&wait);
            async move {
                wait.notified().await;
                success(json!({"late": true}))
            }
        })
        .await;
    let proxy = Proxy::to(bench.server.url()).await;
    let far = coordinator(proxy.url()).await;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = far
        .session("far")
        .config(config)
        .open()
        .await
        .expect("a session");
    let mut events = session.subscribe().await;
    let handle = session
        .submit(QUERY, Task::new("t", json!({})))
        .await
        .expect("taken");
    let id = handle.task_id().to_owned();
    events_until(&mut events, EventKind::Submitted).await;
    proxy.cut();
    go.notify_one();
    eventually("the result is stored", SOON, || async {
        let stored = bench
            .broker()
            .has_result("far", &id)
            .await
            .expect("an answer");
        stored.then_some(()).ok_or("not yet")
    })
    .await;
    proxy.heal();
    done.notify_one();
    let result = timeout(SOON, handle)
        .await
        .expect("bounded")
        .expect("a result");
    assert_eq!(result.result["late"], true);
}

#[tokio::test]
async fn a_session_opened_again_finds_earlier_results_by_id() {
    let bench = Bench::start().await;
    let worker = bench.play(&[QUERY], echo).await;
    let first = bench.external("s").await;
    let task = Task::new("t", json!({"n": 1})).id("build-7");
    first
        .submit(QUERY, task.clone())
        .await
        .expect("taken")
        .await
        .expect("a result");
    first.close().await;
    let again = coordinator(bench.server.url()).await;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = again
        .session("s")
        .config(config)
        .open()
        .await
        .expect("reopened");
    let found = session
        .result("build-7")
        .await
        .expect("an answer")
        .expect("kept");
    assert_eq!(found.result["echo"]["n"], 1);
    // Submitted again under its id, it does not run again.
    let result = session
        .submit(QUERY, task)
        .await
        .expect("taken")
        .await
        .expect("a result");
    assert_eq!(result, found);
    assert_eq!(worker.started.load(Ordering::SeqCst), 1);
    again.close().await;
}

#[tokio::test]
async fn closing_rejects_what_is_new_and_settles_what_waits() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig {
        query_max_concurrency: 1,
        ..Default::default()
    };
    let session = bench
        .coordinator
        .session("s")
        .config(config.with_external_lanes());
    let session = session
        .close_grace(Duration::from_millis(100))
        .open()
        .await
        .expect("a session");
    let queued = session
        .submit(QUERY, Task::new("t", json!({})))
        .await
        .expect("taken");
    let waiting = session
        .submit(QUERY, Task::new("t", json!({})))
        .await
        .expect("taken");
    timeout(SOON, session.close()).await.expect("bounded");
    assert!(matches!(waiting.await, Err(TaskError::Closed { .. })));
    assert_eq!(
        queued.await.expect("a result").outcome(),
        Outcome::Cancelled
    );
    let refused = session.submit(QUERY, Task::new("t", json!({}))).await;
    assert!(matches!(refused, Err(SubmitError::Closed { .. })));
    assert_eq!(bench.tasks_stored().await, 0);
}

#[tokio::test]
async fn an_unserved_lane_is_said_at_once_and_follows_the_fleet() {
    let bench = Bench::start().await;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = bench
        .coordinator
        .session("s")
        .config(config)
        .follow_fleet(true);
    let session = session.open().await.expect("a session");
    let text = session.unserved(QUERY).expect("nobody is there");
    assert!(
        text.starts_with("no worker serves lane query of pool default"),
        "{text}"
    );
    for (id, slots) in [("w1", 5), ("w2", 7)] {
        bench
            .broker()
            .announce(&presence(id, slots, &[QUERY]))
            .await
            .expect("announced");
    }
    eventually("the cap is that of the fleet", SOON, || async {
        let stats = session.queue_stats().await;
        let cap = stats.per_lane()["Query"].max_concurrency;
        (cap == 12).then_some(()).ok_or(format!("cap {cap}"))
    })
    .await;
    assert_eq!(session.unserved(QUERY), None);
    assert!(
        session
            .unserved(SessionLane::Execute)
            .expect("not served")
            .contains("w1 on here")
    );
    assert_eq!(
        session.queue_stats().await.per_lane()["Execute"].max_concurrency,
        1
    );
}

#[tokio::test]
async fn two_hundred_sessions_side_by_side_need_one_connection() {
    let bench = Bench::start().await;
    let _worker = bench.play(&[QUERY], echo).await;
    let mut all = JoinSet::new();
    for n in 0..200 {
        let coordinator = bench.coordinator.clone();
        all.spawn(async move {
            let config = SessionQueueConfig::default().with_external_lanes();
            let session = coordinator.session(format!("s{n}")).config(config);
            let session = session.open().await.expect("a session");
            let task = Task::new("t", json!({ "n": n }));
            let result = session.submit(QUERY, task).await.expect("taken").await;
            assert_eq!(result.expect("a result").result["echo"]["n"], n);
        });
    }
    while let Some(one) = all.join_next().await {
        one.expect("joined");
    }
}

#[tokio::test]
async fn a_route_that_contradicts_the_record_is_refused_with_a_way_out() {
    let bench = Bench::start().await;
    let _first = bench.external("s").await;
    let second = bench
        .coordinator
        .session("s")
        .route(Route::Own)
        .open()
        .await;
    let text = second.expect_err("it is on a pool").to_string();
    assert!(
        text.contains("goes to pool default, not to its own workers"),
        "{text}"
    );
}
