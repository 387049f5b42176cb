//! Who handles which lane, and what both sides say of it.

use std::sync::Arc;

use a3s_code_core::permissions::PermissionPolicy;
use a3s_code_core::queue::{LaneHandlerConfig, SessionLane, TaskHandlerMode};
use a3s_code_core::{AgentEvent, SessionOptions};
use a3s_code_fleet::FleetOptions;
use a3s_shared::protocol::EventKind;
use serde_json::json;

use crate::model::{Say, call, text};
use crate::stage::{SOON, Stage};

const TIMEOUT_MS: u64 = 60_000;

fn handler(mode: TaskHandlerMode) -> LaneHandlerConfig {
    LaneHandlerConfig {
        mode,
        timeout_ms: TIMEOUT_MS,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_lane_is_handled_where_it_is_configured_and_may_be_moved() {
    let stage = Stage::new(|_, _| Say::Text(String::new())).await;
    stage.write("who", "there\n");
    std::fs::write(stage.here.path().join("who"), "here\n").expect("written");
    let _worker = stage.worker("w1", &[]).await;
    let options =
        FleetOptions::new().lane(SessionLane::Execute, TaskHandlerMode::Internal, TIMEOUT_MS);
    let (session, fleet) = stage.session(&options).await;
    let read = || session.tool("read", json!({"file_path": "who"}));
    let write = |name: &str| session.tool("write", json!({"file_path": name, "content": "x"}));

    let told = read().await.expect("a result").output;
    assert!(told.contains("there"), "{told}");
    write("a").await.expect("a result");
    assert!(stage.here.path().join("a").exists());

    let swap = [
        (SessionLane::Query, TaskHandlerMode::Internal),
        (SessionLane::Execute, TaskHandlerMode::External),
    ];
    for (lane, mode) in swap {
        fleet
            .set_lane_handler(lane, handler(mode))
            .await
            .expect("set");
    }
    let told = read().await.expect("a result").output;
    assert!(told.contains("here") && !told.contains("there"), "{told}");
    write("b").await.expect("a result");
    assert!(stage.there.path().join("b").exists());
    assert!(!stage.here.path().join("b").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hybrid_lane_runs_here_and_listeners_at_the_broker_are_told() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("write", json!({"file_path": "a", "content": "x"})),
        _ => text("done"),
    })
    .await;
    let options = FleetOptions::new().session_id("monitored").lane(
        SessionLane::Execute,
        TaskHandlerMode::Hybrid,
        TIMEOUT_MS,
    );
    let allow = PermissionPolicy::new().allow("write");
    let base = SessionOptions::new().with_permission_policy(allow);
    let (session, fleet) = stage.session_with(&options, base).await;
    let broker = stage.coordinator.broker();
    let mut feed = broker
        .subscribe_events(Some("monitored"))
        .await
        .expect("a feed");

    let (mut events, _) = session.stream("task hybrid", None).await.expect("a stream");
    while let Some(event) = events.recv().await {
        fleet.observe(&event);
    }

    assert!(stage.here.path().join("a").exists());
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Completed) {
        let event = tokio::time::timeout(SOON, feed.next()).await;
        let event = event.expect("in time").expect("the feed is open");
        if event.command_type.as_deref() == Some("write") {
            kinds.push(event.kind);
        }
    }
    let told = [
        EventKind::Submitted,
        EventKind::Started,
        EventKind::Completed,
    ];
    assert_eq!(kinds, told);
    assert_eq!(fleet.stats().calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_shown_only_tools_that_somebody_does() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call(
            "task",
            json!({"agent": "explore", "description": "x", "prompt": "y"}),
        ),
        _ => text("done"),
    })
    .await;
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;

    session.send("task tools", None).await.expect("an answer");

    let offered = stage.model.offered("task tools");
    for tool in ["read", "grep", "glob", "ls", "bash", "write", "edit"] {
        assert!(
            offered.iter().any(|name| name == tool),
            "{tool}: {offered:?}"
        );
    }
    for tool in [
        "task",
        "batch",
        "program",
        "Skill",
        "git",
        "patch",
        "web_fetch",
    ] {
        assert!(
            !offered.iter().any(|name| name == tool),
            "{tool}: {offered:?}"
        );
    }
    // One that comes all the same is denied, and asks nobody.
    let told = stage.model.told("task tools").remove(0);
    assert!(
        told.contains("denied") || told.contains("blocked"),
        "{told}"
    );
    assert_eq!(fleet.stats().calls, 0);
    // Also when the host itself calls it, past its own permissions.
    let result = session.tool("git", json!({"command": "status"})).await;
    let result = result.expect("a result");
    assert!(result.output.contains("no worker"), "{}", result.output);
    assert_eq!(fleet.stats().refused, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_count_the_same() {
    let stage = Stage::new(|_, turn| match turn {
        0 => call("read", json!({"files": [{"path": "a"}, {"path": "b"}]})),
        1 => call("bash", json!({"command": "exit 3"})),
        2 => call("grep", json!({"pattern": "x", "cursor": "1"})),
        3 => call("ls", json!({})),
        _ => text("done"),
    })
    .await;
    stage.write("a", "x\n");
    let _worker = stage.worker("w1", &[]).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;
    let mut reports = fleet.subscribe();

    let (mut events, _) = session.stream("task count", None).await.expect("a stream");
    let (mut pending, mut completed) = (0, 0);
    while let Some(event) = events.recv().await {
        fleet.observe(&event);
        pending += u64::from(matches!(event, AgentEvent::ExternalTaskPending { .. }));
        completed += u64::from(matches!(event, AgentEvent::ExternalTaskCompleted { .. }));
    }

    let stats = fleet.stats();
    assert_eq!((stats.calls, stats.answered, stats.late), (4, 4, 0));
    assert_eq!((pending, completed), (4, 4));
    assert_eq!((stats.submitted, stats.completed, stats.failed), (4, 2, 2));
    assert_eq!(stats.refused, 1);
    let metrics = fleet.metrics().await.expect("they are enabled");
    let counted = |name: &str| metrics.counters[&format!("lane.commands.{name}")];
    assert_eq!(counted("submitted"), stats.submitted);
    assert_eq!(counted("completed"), stats.completed);
    assert_eq!(counted("failed"), stats.failed);
    assert_eq!(metrics.total_processed, stats.submitted);
    let mut told = Vec::new();
    while let Ok(report) = reports.try_recv() {
        told.push(report);
    }
    assert_eq!(told.len(), 5, "{told:?}");
    assert_eq!(session.queue_stats().await.external_pending, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_that_is_dropped_with_its_session_ends() {
    let stage = Stage::new(|_, _| Say::Text(String::new())).await;
    let (session, fleet) = stage.session(&FleetOptions::new()).await;
    let weak = Arc::downgrade(&session);
    drop((session, fleet));
    a3s_testkit::eventually("the session's end", SOON, || {
        let holders = weak.strong_count();
        std::future::ready(if holders == 0 { Ok(()) } else { Err(holders) })
    })
    .await;
}
