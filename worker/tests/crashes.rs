//! What happens to tasks when processes die. Everything here is real: the server, the workers,
//! and SIGKILL.

mod support;

use std::time::{Duration, Instant};

use a3s_shared::protocol::{Effect, EventKind, Outcome, RetryPolicy, SessionLane};
use a3s_testkit::{Process, Proxy, eventually};
use serde_json::json;
use support::{ACK_WAIT, BOUND, Job, Rig, next_event, shell};

#[tokio::test]
async fn a_killed_worker_does_not_lose_its_task() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let mut first = rig.ready_worker("first", &[]).await;
    let id = rig
        .submit(shell(SessionLane::Query, "sleep 3; echo done"))
        .await;
    next_event(&mut events, EventKind::Started, &id).await;
    let _second = rig.ready_worker("second", &[]).await;
    first.kill();
    let killed = Instant::now();
    let restarted = next_event(&mut events, EventKind::Started, &id).await;
    let waited = killed.elapsed();
    assert_eq!(restarted.worker_id.as_deref(), Some("second"));
    assert!(
        waited < ACK_WAIT + Duration::from_secs(2),
        "started again after {waited:?}"
    );
    let result = rig.result(&id).await;
    assert_eq!((result.outcome(), result.attempt), (Outcome::Completed, 2));
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_task_that_kills_its_workers_is_buried_after_its_attempts() {
    let rig = Rig::start().await;
    let poison = rig.script("poison.sh", "echo x >> deaths; kill -9 $PPID; sleep 5");
    let tool = format!("poison={poison}");
    let start = |n: u32| rig.worker(&format!("w{n}"), &["--tool", &tool, "--lanes", "query"]);
    let retry = RetryPolicy {
        max_retries: 2,
        ..RetryPolicy::default()
    };
    let id = rig
        .submit(Job {
            command: "poison",
            payload: json!({"a": [1]}),
            retry,
            ..Job::default()
        })
        .await;
    let (mut worker, mut started) = (start(1), 1);
    let deadline = Instant::now() + BOUND;
    let result = loop {
        assert!(
            Instant::now() < deadline,
            "no result after {started} workers"
        );
        if !worker.is_running() {
            started += 1;
            worker = start(started);
        }
        if let Some(result) = rig
            .broker
            .result("s", &id)
            .await
            .expect("the broker answers")
        {
            break result;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(result.outcome(), Outcome::DeadLettered);
    assert_eq!(
        rig.file("deaths").lines().count(),
        3,
        "three attempts, no more"
    );
    let letters = rig
        .broker
        .dead_letters(Some("s"))
        .await
        .expect("dead letters");
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].task_id.as_str(), letters[0].attempts),
        (id.as_str(), 3)
    );
    assert_eq!(letters[0].payload, json!({"a": [1]}));
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_once_task_whose_worker_died_is_unknown_and_never_started_again() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let mut first = rig.ready_worker("first", &[]).await;
    let job = shell(SessionLane::Execute, "echo x >> starts; sleep 20");
    let id = rig
        .submit(Job {
            effect: Effect::Once,
            retry: RetryPolicy::none(),
            ..job
        })
        .await;
    next_event(&mut events, EventKind::Started, &id).await;
    eventually("the tool wrote its mark", BOUND, async || {
        (!rig.file("starts").is_empty())
            .then_some(())
            .ok_or("nothing")
    })
    .await;
    first.kill();
    let _second = rig.ready_worker("second", &[]).await;
    let result = rig.result(&id).await;
    assert_eq!(result.outcome(), Outcome::Unknown);
    assert_eq!(result.result["claimed_by"], "first");
    assert_eq!(rig.file("starts").lines().count(), 1);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_once_task_that_was_delivered_and_not_started_is_started_by_another() {
    let rig = Rig::start().await;
    let id = rig
        .submit(Job {
            effect: Effect::Once,
            retry: RetryPolicy::none(),
            ..shell(SessionLane::Execute, "echo x >> starts")
        })
        .await;
    // A worker that got it and died before the claim: a pull of ours that is never answered.
    let stream = rig
        .broker
        .jetstream()
        .get_stream("A3S_TASKS")
        .await
        .expect("the stream");
    let consumer: async_nats::jetstream::consumer::PullConsumer = stream
        .get_consumer("pool-default-execute")
        .await
        .expect("the consumer");
    let mut batch = consumer
        .batch()
        .max_messages(1)
        .expires(Duration::from_secs(5))
        .messages()
        .await
        .expect("a pull");
    futures::StreamExt::next(&mut batch)
        .await
        .expect("a message")
        .expect("a task");
    let _worker = rig.ready_worker("worker", &[]).await;
    assert_eq!(rig.result(&id).await.outcome(), Outcome::Completed);
    assert_eq!(rig.file("starts").lines().count(), 1);
}

#[tokio::test]
async fn a_worker_that_was_frozen_beyond_its_lease_does_not_answer() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let mut frozen = rig.ready_worker("frozen", &[]).await;
    let id = rig
        .submit(shell(SessionLane::Query, "sleep 1; echo $$"))
        .await;
    next_event(&mut events, EventKind::Started, &id).await;
    frozen.stop_process();
    let _second = rig.ready_worker("second", &[]).await;
    let result = rig.result(&id).await;
    assert_eq!(result.worker_id, "second");
    frozen.continue_process();
    frozen
        .wait_for("a task was left to its redelivery", BOUND)
        .await;
    assert_eq!(rig.result(&id).await, result, "the outcome is the same");
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_killed_server_loses_nothing_that_it_accepted() {
    let mut rig = Rig::start().await;
    let _a = rig.ready_worker("a", &["-j", "4"]).await;
    let mut ids = Vec::new();
    for n in 0..100 {
        ids.push(
            rig.submit(shell(SessionLane::Query, &format!("echo {n}")))
                .await,
        );
    }
    rig.server.kill();
    rig.server.start_again().await;
    for (n, id) in ids.iter().enumerate() {
        let result = rig.result(id).await;
        assert_eq!(result.result["output"], format!("{n}\n"), "{result:?}");
    }
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_worker_behind_a_dead_link_finds_out_and_asks_again() {
    let rig = Rig::start().await;
    let proxy = Proxy::to(rig.server.url()).await;
    let worker = rig.worker_at(proxy.url(), "far", &[]);
    worker.wait_for("ready for tasks", BOUND).await;
    assert_eq!(
        rig.result(&rig.submit(Job::default()).await)
            .await
            .outcome(),
        Outcome::Completed
    );
    proxy.blackhole();
    let id = rig.submit(Job::default()).await;
    worker.wait_for("the broker is silent", BOUND).await;
    proxy.heal();
    assert_eq!(rig.result(&id).await.outcome(), Outcome::Completed);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_drain_hands_back_what_it_cannot_finish_and_costs_no_attempt() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let mut first = rig.ready_worker("first", &["--drain", "0"]).await;
    let job = shell(SessionLane::Query, "echo x >> starts; sleep 2; echo done");
    let retry = RetryPolicy {
        max_retries: 0,
        ..RetryPolicy::default()
    };
    let id = rig.submit(Job { retry, ..job }).await;
    next_event(&mut events, EventKind::Started, &id).await;
    let _second = rig.ready_worker("second", &[]).await;
    first.terminate();
    assert!(first.wait(BOUND).await.success());
    let again = next_event(&mut events, EventKind::Started, &id).await;
    assert_eq!(
        (again.worker_id.as_deref(), again.attempt),
        (Some("second"), Some(1))
    );
    assert_eq!(rig.result(&id).await.outcome(), Outcome::Completed);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_leaves_no_trace() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let mut worker = rig.ready_worker("only", &[]).await;
    let id = rig
        .submit(shell(SessionLane::Execute, "sleep 1; echo done"))
        .await;
    next_event(&mut events, EventKind::Started, &id).await;
    worker.terminate();
    assert!(worker.wait(BOUND).await.success());
    let result = rig
        .broker
        .result("s", &id)
        .await
        .expect("the broker answers");
    assert_eq!(result.map(|r| r.outcome()), Some(Outcome::Completed));
    rig.nothing_is_left().await;
    let fleet = rig.broker.watch_fleet().await.expect("the workers");
    assert_eq!(fleet.workers(), [], "it said goodbye");
}

#[tokio::test]
async fn a_rolling_restart_of_all_workers_under_load_loses_nothing() {
    let rig = Rig::start().await;
    let mut fleet: Vec<Process> = Vec::new();
    for n in 0..3 {
        fleet.push(
            rig.ready_worker(&format!("old{n}"), &["-j", "4", "--drain", "0"])
                .await,
        );
    }
    let mut ids = Vec::new();
    for _ in 0..200 {
        let retry = RetryPolicy {
            max_retries: 0,
            ..RetryPolicy::default()
        };
        ids.push(
            rig.submit(Job {
                retry,
                ..shell(SessionLane::Query, "sleep 0.05")
            })
            .await,
        );
    }
    for (n, old) in fleet.iter_mut().enumerate() {
        let new = rig.ready_worker(&format!("new{n}"), &["-j", "4"]).await;
        old.terminate();
        assert!(old.wait(BOUND).await.success());
        *old = new;
    }
    for id in &ids {
        let result = rig.result(id).await;
        assert_eq!(result.outcome(), Outcome::Completed, "{result:?}");
    }
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_worker_for_a_session_on_a_pool_says_both_ways_out() {
    let rig = Rig::start().await;
    let record = a3s_shared::protocol::SessionRecord {
        session_id: "taken".into(),
        route: a3s_shared::protocol::Route::Pool("eu".into()),
        state: a3s_shared::protocol::SessionState::Open,
        lanes: std::collections::BTreeMap::new(),
        created_at_ms: 1,
        cancelled_before_ms: 0,
    };
    rig.broker
        .create_session(&record)
        .await
        .expect("the record");
    let mut worker = rig.worker("w", &["--session-id", "taken"]);
    assert_eq!(worker.wait(BOUND).await.code(), Some(3));
    let said = worker.stderr();
    assert!(
        said.contains("--pool eu") && said.contains("--own"),
        "{said}"
    );
}

#[tokio::test]
async fn the_fleet_is_seen_again_after_a_restart_of_the_server() {
    let mut rig = Rig::start().await;
    let fleet = rig.broker.watch_fleet().await.expect("the workers");
    let _worker = rig.ready_worker("steady", &[]).await;
    rig.server.restart().await;
    let restarted = a3s_shared::protocol::clock::now_ms();
    eventually("a heartbeat after the restart", BOUND, async || {
        let seen = fleet
            .workers()
            .into_iter()
            .find(|w| w.worker_id == "steady");
        let seen = seen.map_or(0, |w| w.seen_at_ms);
        (seen > restarted)
            .then_some(())
            .ok_or(format!("last seen at {seen}"))
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_not_to_be_had_now_does_not_bury_its_task() {
    let rig = Rig::start().await;
    let worker = rig.ready_worker("w", &[]).await;
    let body = br#"{"task_id":"large","command_type":"bash","payload":{"command":"echo whole"}}"#;
    let name = rig.broker.put_blob(&body[..], "large").await;
    let name = name.expect("the body is stored");
    // The store of bodies is away for a while.
    let jetstream = rig.broker.jetstream();
    let gone = jetstream.delete_stream("OBJ_a3s_blobs").await;
    gone.expect("it can be removed");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("A3s-Blob", name.as_str());
    let sent = jetstream.publish_with_headers("a3s.s.query", headers, "".into());
    let sent = sent.await.expect("it is sent").await;
    sent.expect("it is stored");
    worker.wait_for("a task was left for later", BOUND).await;

    let settings = a3s_shared::broker::Settings::default();
    rig.broker.ensure(&settings).await.expect("it is back");
    let again = rig.broker.put_blob(&body[..], "large").await;
    assert_eq!(again.expect("the body is stored"), name);
    assert_eq!(rig.result("large").await.result["stdout"], "whole\n");
    let letters = rig.broker.dead_letters(None).await.expect("dead letters");
    assert_eq!(letters, []);
    rig.nothing_is_left().await;
}

/// As after a freeze: the only delivery that this worker has seen is an old one.
#[tokio::test]
async fn a_body_that_went_with_its_result_is_no_reason_to_bury_the_task() {
    let rig = Rig::start().await;
    let result = a3s_shared::protocol::TaskResult {
        task_id: "ended".to_owned(),
        session_id: "s".to_owned(),
        lane: a3s_shared::protocol::SessionLane::Query,
        command_type: "bash".to_owned(),
        success: true,
        result: serde_json::json!({}),
        error: None,
        error_kind: None,
        attempt: 1,
        worker_id: "another".to_owned(),
        started_at_ms: 1,
        duration_ms: 0,
    };
    let encoding = a3s_shared::protocol::Encoding::Json;
    let stored = rig.broker.publish_result(&result, encoding).await;
    stored.expect("it is stored");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("A3s-Blob", "sha256-00.ended");
    headers.insert("A3s-Reply-To", "a3s.s.result.ended");
    let jetstream = rig.broker.jetstream();
    let sent = jetstream.publish_with_headers("a3s.s.query", headers, "".into());
    let sent = sent.await.expect("it is sent").await;
    sent.expect("it is stored");
    let _worker = rig.ready_worker("w", &[]).await;
    rig.nothing_is_left().await;
    let letters = rig.broker.dead_letters(None).await.expect("dead letters");
    assert_eq!(letters, []);
    assert_eq!(rig.result("ended").await, result);
}
