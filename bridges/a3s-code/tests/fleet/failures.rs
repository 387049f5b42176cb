//! What the model sees when a tool, its worker or its caller goes away.

use std::time::{Duration, Instant};

use a3s_code_core::AgentEvent;
use a3s_code_core::queue::{SessionLane, TaskHandlerMode};
use a3s_code_fleet::FleetOptions;
use a3s_testkit::eventually;
use serde_json::json;

use crate::model::{Say, call, text};
use crate::stage::{SOON, Stage, gone, runs};

/// A command that says who it is and does not end by itself.
const ENDLESS: &str = "echo $$ >pid; sleep 1000";

fn endless(_: &str, turn: usize) -> Say {
    match turn {
        0 => call("bash", json!({ "command": ENDLESS })),
        _ => text("done"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_whose_worker_is_killed_is_done_by_another() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("read", json!({"file_path": "hello.txt"})),
        _ => text("done"),
    })
    .await;
    stage.write("hello.txt", "hello from there\n");
    let stuck = stage.program("stuck", "echo $$ >pid; exec sleep 1000");
    let tool = format!("read={}", stuck.display());
    let mut first = stage.worker("w1", &["--tool", &tool]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let work = tokio::spawn(async move { session.send("task retry", None).await });
    stage.written("pid").await;
    let _second = stage.worker("w2", &[]).await;
    first.kill();
    work.await.expect("no panic").expect("an answer");

    let told = stage.model.told("task retry");
    assert!(told[0].contains("hello from there"), "{told:?}");
    let stats = fleet.stats();
    assert_eq!((stats.submitted, stats.completed), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_worker_is_killed_is_told_as_unknown_and_not_run_again() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("bash", json!({"command": "echo ran >>log; sleep 1000"})),
        _ => text("done"),
    })
    .await;
    let mut first = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let work = tokio::spawn(async move { session.send("task once", None).await });
    stage.written("log").await;
    let _second = stage.worker("w2", &[]).await;
    first.kill();
    work.await.expect("no panic").expect("an answer");

    let told = stage.model.told("task once").remove(0);
    assert!(told.contains("outcome unknown"), "{told}");
    assert_eq!(stage.written("log").await, "ran\n");
    assert_eq!(fleet.stats().unknown, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_runs_into_its_time_shows_what_it_printed_until_then() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("bash", json!({"command": "echo half of it; sleep 1000"})),
        _ => text("done"),
    })
    .await;
    let _worker = stage.worker("w1", &[]).await;
    let options = FleetOptions::new().lane(SessionLane::Execute, TaskHandlerMode::External, 3_000);
    let (session, fleet) = stage.session(&options).await;

    let (mut events, _) = session.stream("task slow", None).await.expect("a stream");
    let mut kinds = Vec::new();
    while let Some(event) = events.recv().await {
        fleet.observe(&event);
        if let AgentEvent::ToolEnd { error_kind, .. } = event {
            kinds.push(json!(error_kind)["type"].clone());
        }
    }

    let told = stage.model.told("task slow").remove(0);
    assert!(told.contains("half of it"), "{told}");
    assert!(told.contains("timed out"), "{told}");
    assert_eq!(kinds, ["timeout"]);
    assert_eq!(fleet.stats().timed_out, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_costs_no_answer() {
    let mut stage = Stage::new(|_, turn| match turn {
        0 => call(
            "bash",
            json!({"command": "echo $$ >pid; until [ -e go ]; do sleep 0.05; done; echo through"}),
        ),
        _ => text("done"),
    })
    .await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let work = tokio::spawn(async move { session.send("task on", None).await });
    stage.written("pid").await;
    stage.server.kill();
    stage.write("go", "");
    stage.server.start_again().await;
    work.await.expect("no panic").expect("an answer");

    assert_eq!(stage.model.told("task on"), ["through\n"]);
    let stats = fleet.stats();
    assert_eq!((stats.submitted, stats.completed), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_ends_the_workers_process_and_frees_its_lane() {
    let stage = Stage::new(|prompt, turn| match (prompt, turn) {
        ("task endless", 0) => call("bash", json!({ "command": ENDLESS })),
        (_, 0) => call("bash", json!({"command": "echo next"})),
        _ => text("done"),
    })
    .await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let (_events, run) = session
        .stream("task endless", None)
        .await
        .expect("a stream");
    let pid = stage.written("pid").await;
    assert!(runs(&pid));
    assert!(session.cancel().await);
    let _ = run.await;

    gone(&pid).await;
    eventually("the call's end", SOON, || {
        let stats = fleet.stats();
        let over = stats.cancelled == 1 && stats.answered + stats.late == 1;
        std::future::ready(over.then_some(()).ok_or(format!("{stats:?}")))
    })
    .await;
    assert_eq!(session.queue_stats().await.external_pending, 0);
    session.send("task next", None).await.expect("an answer");
    assert!(
        stage
            .model
            .told("task next")
            .last()
            .is_some_and(|told| told.contains("next"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_session_takes_its_commands_with_it() {
    let stage = Stage::new(endless).await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let (_events, _run) = session.stream("task close", None).await.expect("a stream");
    let pid = stage.written("pid").await;
    session.close().await;

    gone(&pid).await;
    eventually("the call's end", SOON, || {
        let stats = fleet.stats();
        let over = stats.cancelled == 1 && stats.late == 1;
        std::future::ready(over.then_some(()).ok_or(format!("{stats:?}")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_fleet_leaves_no_process_and_no_call_behind() {
    let stage = Stage::new(endless).await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let (mut events, _run) = session.stream("task detach", None).await.expect("a stream");
    let pid = stage.written("pid").await;
    fleet.close().await;

    gone(&pid).await;
    let answered = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(SOON, answered)
        .await
        .expect("the agent goes on");
    let told = stage.model.told("task detach").remove(0);
    assert!(told.contains("cancelled"), "{told}");
    let lanes = session.queue_stats().await.lanes;
    let internal = lanes
        .values()
        .all(|lane| lane.handler_mode == TaskHandlerMode::Internal);
    assert!(internal, "{lanes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_lets_go_of_a_server_that_is_gone() {
    let mut stage = Stage::new(endless).await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    let (mut events, _run) = session.stream("task gone", None).await.expect("a stream");
    stage.written("pid").await;
    stage.server.kill();
    let closed = tokio::time::timeout(SOON, fleet.close()).await;
    closed.expect("it does not wait for the command's deadline");
    let answered = async { while events.recv().await.is_some() {} };
    tokio::time::timeout(SOON, answered)
        .await
        .expect("the agent goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_worker_the_model_gets_one_clear_sentence_and_nothing_runs_later() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("bash", json!({"command": "echo ran >>log"})),
        _ => text("done"),
    })
    .await;
    let options = FleetOptions::new().patience(Duration::from_millis(200));
    let (session, fleet) = stage.session(&options).await;

    let began = Instant::now();
    session.send("task nobody", None).await.expect("an answer");
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());

    let told = stage.model.told("task nobody").remove(0);
    assert!(told.contains("no worker serves lane execute"), "{told}");
    assert!(told.contains("start one: a3s-worker"), "{told}");
    let stats = fleet.stats();
    assert_eq!((stats.unserved, stats.submitted), (1, 0));
    // A worker that comes later finds nothing to do: its first task is the one that follows.
    let _worker = stage.worker("w1", &[]).await;
    session
        .tool("bash", json!({"command": "true"}))
        .await
        .expect("a result");
    assert!(!stage.there.path().join("log").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_worker_would_overlook_is_refused_and_changes_nothing() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call(
            "write",
            json!({"file_path": "log", "content": "two\n", "mode": "append", "expected_offset": 4}),
        ),
        _ => text("done"),
    })
    .await;
    stage.write("log", "one\n");
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    session.send("task append", None).await.expect("an answer");

    let told = stage.model.told("task append").remove(0);
    assert!(told.contains("mode=\"append\""), "{told}");
    assert_eq!(stage.written("log").await, "one\n");
    assert_eq!(fleet.stats().refused, 1);
}
