//! A session and a real worker process: what only the two together can show.

mod support;

use std::time::Duration;

use a3s_coordinator::{SessionQueueConfig, Task};
use a3s_shared::protocol::{EventKind, Outcome, Route, SessionLane};
use a3s_testkit::{Process, eventually};
use serde_json::json;
use support::{Bench, SOON, events_until};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const EXECUTE: SessionLane = SessionLane::Execute;

fn worker(bench: &Bench, workspace: &TempDir, arguments: &[&str]) -> Process {
    Process::of("a3s-worker")
        .args([
            "--nats-url",
            bench.server.url(),
            "--concurrency",
            "8",
            "--workspace",
        ])
        .arg(workspace.path())
        .args(arguments.iter().copied())
        .start()
}

fn shell(command: &str) -> Task {
    Task::new("bash", json!({ "command": command })).timeout_ms(30_000)
}

#[tokio::test]
async fn a_cancelled_command_is_gone_within_a_second_and_what_it_printed_is_kept() {
    let (bench, workspace) = (Bench::start().await, TempDir::new().expect("a directory"));
    let _worker = worker(&bench, &workspace, &[]);
    let session = bench.external("s").await;
    let mut events = session.subscribe().await;
    let command = "echo half; (sleep 300 & echo $! > child); touch began; wait; sleep 300";
    let handle = session
        .submit_by_tool("bash", shell(command))
        .await
        .expect("taken");
    events_until(&mut events, EventKind::Started).await;
    eventually("the command has printed", SOON, || async {
        let began = workspace.path().join("began").exists();
        began.then_some(()).ok_or("not yet")
    })
    .await;
    let asked = Instant::now();
    assert!(handle.cancel().await.expect("confirmed"));
    let result = timeout(SOON, handle)
        .await
        .expect("bounded")
        .expect("a result");
    assert!(
        asked.elapsed() < Duration::from_millis(1_900),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(result.outcome(), Outcome::Cancelled);
    assert_ne!(
        result.worker_id, "coordinator",
        "the worker answered: {result:?}"
    );
    assert!(
        result.result["stdout"]
            .as_str()
            .is_some_and(|out| out.contains("half")),
        "{result:?}"
    );
    let child = std::fs::read_to_string(workspace.path().join("child")).expect("its id");
    let child = format!("/proc/{}", child.trim());
    eventually("the child is gone", SOON, || async {
        let gone = !std::path::Path::new(&child).exists();
        gone.then_some(()).ok_or("it runs")
    })
    .await;
}

#[tokio::test]
async fn at_its_deadline_a_command_ends_with_what_it_printed_and_one_event() {
    let (bench, workspace) = (Bench::start().await, TempDir::new().expect("a directory"));
    let _worker = worker(&bench, &workspace, &[]);
    let session = bench.external("s").await;
    let mut events = session.subscribe().await;
    let task = shell("echo half; sleep 300").timeout_ms(3_000);
    let handle = session.submit_by_tool("bash", task).await.expect("taken");
    let result = timeout(SOON, handle)
        .await
        .expect("bounded")
        .expect("a result");
    assert_eq!(result.outcome(), Outcome::TimedOut);
    assert!(
        result.result["stdout"]
            .as_str()
            .is_some_and(|out| out.contains("half")),
        "{result:?}"
    );
    session.close().await;
    let seen = events_until(&mut events, EventKind::ShutdownComplete).await;
    let kinds: Vec<_> = seen.iter().map(|event| event.kind).collect();
    use EventKind::{ShutdownComplete, ShutdownStarted, Started, Submitted, Timeout};
    assert_eq!(kinds.len(), 5, "{kinds:?}");
    for kind in [
        Submitted,
        Started,
        Timeout,
        ShutdownStarted,
        ShutdownComplete,
    ] {
        assert!(kinds.contains(&kind), "no {kind:?} in {kinds:?}");
    }
}

#[tokio::test]
async fn never_more_than_the_cap_runs_on_any_number_of_slots() {
    for route in [Route::Pool("default".into()), Route::Own] {
        let (bench, workspace) = (Bench::start().await, TempDir::new().expect("a directory"));
        let config = SessionQueueConfig {
            execute_max_concurrency: 3,
            ..Default::default()
        };
        let session = bench
            .coordinator
            .session("s")
            .config(config.with_external_lanes());
        let session = session
            .route(route.clone())
            .open()
            .await
            .expect("a session");
        let arguments: &[&str] = if route == Route::Own {
            &["--session-id", "s"]
        } else {
            &[]
        };
        let _workers = [
            worker(&bench, &workspace, arguments),
            worker(&bench, &workspace, arguments),
        ];
        // Each command counts those that run beside it by their files.
        let command = "touch run.$$; ls run.* | wc -l; sleep 0.1; rm run.$$";
        let mut results = JoinSet::new();
        for _ in 0..20 {
            results.spawn(
                session
                    .submit(EXECUTE, shell(command))
                    .await
                    .expect("taken"),
            );
        }
        while let Some(result) = timeout(SOON, results.join_next()).await.expect("bounded") {
            let result = result.expect("joined").expect("a result");
            let beside = result.result["stdout"]
                .as_str()
                .unwrap_or_default()
                .trim()
                .to_owned();
            let beside: usize = beside.parse().unwrap_or_else(|_| panic!("{result:?}"));
            assert!(
                (1..=3).contains(&beside),
                "{beside} ran at a time, {route:?}"
            );
        }
    }
}
