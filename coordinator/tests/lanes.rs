//! What the lanes of a session promise, on real worker processes with more slots than a lane may
//! use: the cap holds whatever happens to the caller, sessions are fair to each other, and what
//! was sent is what arrives.

mod support;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use a3s_coordinator::{SessionQueueConfig, Task};
use a3s_shared::protocol::{Encoding, Route, SessionLane};
use a3s_testkit::{Process, eventually};
use futures::future::join_all;
use serde_json::{Value, json};
use support::{Bench, SOON};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const EXECUTE: SessionLane = SessionLane::Execute;

/// How many Execute tasks of the session may run at a time; the workers have 20 slots.
const CAP: usize = 5;

/// Runs a while, and notes in `counts` how many such commands ran when it began.
const COUNTED: &str = "touch run.$$; ls run.* | wc -l >> counts; sleep 0.2; rm run.$$";

/// A server, and two workers of ten slots in one directory.
struct Floor {
    bench: Bench,
    workspace: TempDir,
    _workers: [Process; 2],
}

impl Floor {
    async fn open(arguments: &[&str]) -> Self {
        let (bench, workspace) = (Bench::start().await, TempDir::new().expect("a directory"));
        let worker = || {
            Process::of("a3s-worker")
                .env("NATS_URL", bench.server.url())
                .args(["--concurrency", "10", "--workspace"])
                .arg(workspace.path())
                .args(arguments)
                .start()
        };
        let _workers = [worker(), worker()];
        eventually("both workers", SOON, || async {
            let there = bench.coordinator.fleet().workers().len();
            (there == 2).then_some(()).ok_or(format!("{there} workers"))
        })
        .await;
        Self {
            bench,
            workspace,
            _workers,
        }
    }

    /// What the commands have noted.
    fn counts(&self) -> Vec<usize> {
        let text = fs::read_to_string(self.workspace.path().join("counts")).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect()
    }

    /// At no time more than the cap ran, and at some time as many.
    fn assert_cap_was_kept(&self, what: &str) {
        let counts = self.counts();
        assert_eq!(counts.iter().max(), Some(&CAP), "{what}: {counts:?}");
    }

    /// A process that runs the tasks of a file in session `s`.
    fn batch(&self, arguments: &[&str]) -> Process {
        Process::of("a3s-coordinator")
            .env("NATS_URL", self.bench.server.url())
            .current_dir(self.workspace.path())
            .args(["batch", "tasks.ndjson", "--session", "s", "--jobs", "5"])
            .args(arguments)
            .start()
    }
}

fn shell(command: &str) -> Task {
    Task::new("bash", json!({ "command": command }))
}

/// Each way of routing, with what a worker and a caller are told of it.
fn routes() -> [(Route, &'static [&'static str], &'static [&'static str]); 2] {
    [
        (Route::Pool("default".into()), &[], &[]),
        (Route::Own, &["--session-id", "s"], &["--own"]),
    ]
}

#[tokio::test]
async fn five_of_twenty_slots_are_used_when_five_is_the_cap() {
    for (route, workers, _) in routes() {
        let floor = Floor::open(workers).await;
        let config = SessionQueueConfig {
            execute_max_concurrency: CAP,
            ..SessionQueueConfig::default().with_external_lanes()
        };
        let session = floor.bench.coordinator.session("s").config(config);
        let session = session
            .route(route.clone())
            .open()
            .await
            .expect("a session");
        let mut handles = Vec::new();
        for _ in 0..25 {
            handles.push(
                session
                    .submit(EXECUTE, shell(COUNTED))
                    .await
                    .expect("taken"),
            );
        }
        for handle in timeout(SOON, join_all(handles)).await.expect("bounded") {
            assert!(handle.expect("a result").success);
        }
        assert_eq!(floor.counts().len(), 25);
        floor.assert_cap_was_kept(&format!("{route:?}"));
    }
}

#[tokio::test]
async fn a_killed_caller_started_again_keeps_the_cap() {
    const TASKS: usize = 25;
    for (route, workers, caller) in routes() {
        let floor = Floor::open(workers).await;
        let task = json!({"command_type": "bash", "payload": {"command": COUNTED}});
        let path = floor.workspace.path().join("tasks.ndjson");
        fs::write(path, format!("{task}\n").repeat(TASKS)).expect("written");
        let mut killed = floor.batch(caller);
        eventually("some have run, and more run", SOON, || async {
            let began = floor.counts().len();
            (began >= 8).then_some(()).ok_or(format!("{began} began"))
        })
        .await;
        killed.kill();
        let before = floor.counts().len();
        assert!(before < TASKS, "it was killed too late: {before}");
        let mut again = floor.batch(caller);
        let status = again.wait(SOON).await;
        assert!(status.success(), "{}", again.stderr());
        let ran = floor.counts().len();
        assert!(ran >= before + TASKS, "{before} before, {ran} at the end");
        floor.assert_cap_was_kept(&format!("{route:?}"));
        let ids = again.stdout();
        let ids: HashSet<&str> = ids.lines().collect();
        assert_eq!(ids.len(), TASKS, "every task has its own result");
    }
}

#[tokio::test]
async fn ten_thousand_queued_tasks_do_not_delay_another_session() {
    const SERVICE: Duration = Duration::from_secs(1);
    const SLACK: Duration = Duration::from_millis(900);
    let floor = Floor::open(&[]).await;
    let config = SessionQueueConfig {
        execute_max_concurrency: 20,
        ..SessionQueueConfig::default().with_external_lanes()
    };
    let greedy = floor.bench.coordinator.session("greedy").config(config);
    let greedy = greedy
        .close_grace(Duration::ZERO)
        .open()
        .await
        .expect("a session");
    let mut handles = Vec::new();
    for _ in 0..10_000 {
        let task = shell("echo >> began; sleep 1").timeout_ms(600_000);
        handles.push(greedy.submit(EXECUTE, task).await.expect("taken"));
    }
    eventually("all slots are busy", SOON, || async {
        let began = fs::read(floor.workspace.path().join("began")).unwrap_or_default();
        (began.len() >= 20)
            .then_some(())
            .ok_or(format!("{} run", began.len()))
    })
    .await;
    let modest = floor.bench.external("modest").await;
    let asked = Instant::now();
    let handle = modest.submit(EXECUTE, shell("true")).await.expect("taken");
    let result = timeout(SOON, handle)
        .await
        .expect("bounded")
        .expect("a result");
    let took = asked.elapsed();
    assert!(result.success, "{result:?}");
    assert!(took <= SERVICE + SLACK, "it took {took:?}");
    assert!(
        greedy.queue_stats().await.pending_count() > 9_000,
        "it would have been its turn"
    );
    greedy.close().await;
}

#[tokio::test]
async fn two_hundred_sessions_of_one_process_run_side_by_side() {
    let floor = Floor::open(&[]).await;
    fs::write(floor.workspace.path().join("a.txt"), "content\n").expect("written");
    let mut sessions = JoinSet::new();
    for n in 0..200 {
        let coordinator = floor.bench.coordinator.clone();
        sessions.spawn(async move {
            let config = SessionQueueConfig::default().with_external_lanes();
            let session = coordinator.session(format!("s{n}")).config(config);
            let session = session.open().await.expect("a session");
            let task = Task::new("read", json!({"path": "a.txt"}));
            let handle = session.submit_by_tool("read", task).await.expect("taken");
            let result = timeout(SOON, handle)
                .await
                .expect("bounded")
                .expect("a result");
            (session.id().to_owned(), result)
        });
    }
    while let Some(one) = sessions.join_next().await {
        let (session, result) = one.expect("joined");
        assert_eq!(result.result["content"], "content\n");
        assert_eq!(result.session_id, session);
    }
}

#[tokio::test]
async fn a_worker_gets_and_returns_payloads_as_they_are() {
    let (bench, workspace) = (Bench::start().await, TempDir::new().expect("a directory"));
    let script = workspace.path().join("echo.sh");
    let text = "#!/bin/sh\nprintf '{\"success\":true,\"result\":'; cat; printf '}'\n";
    fs::write(&script, text).expect("written");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("it may be run");
    let _worker = Process::of("a3s-worker")
        .args(["--nats-url", bench.server.url(), "--workspace"])
        .arg(workspace.path())
        .args(["--tool", &format!("echo={}", script.display())])
        .start();
    let payloads = [
        json!([]),
        json!({"empty": {}, "none": null, "list": [[], ""]}),
        json!({"largest": i64::MAX, "smallest": i64::MIN, "half": 0.5}),
        json!({"text": "Grüße, 世界 🦀 \u{0} \u{7f} \" \\ \r\n", "ключ": "e\u{301}"}),
        json!({"large": "ß".repeat(512 * 1024)}),
    ];
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let config = SessionQueueConfig::default().with_external_lanes();
        let session = bench
            .coordinator
            .session(format!("s-{encoding:?}"))
            .config(config);
        let session = session.encoding(encoding).open().await.expect("a session");
        for payload in &payloads {
            let task = Task::new("echo", payload.clone());
            let handle = session.submit(EXECUTE, task).await.expect("taken");
            let result = timeout(SOON, handle)
                .await
                .expect("bounded")
                .expect("a result");
            assert!(result.success, "{:?}", result.error);
            assert!(result.result["payload"] == *payload, "{}", shown(payload));
        }
    }
}

/// The beginning of a payload that did not survive.
fn shown(payload: &Value) -> String {
    payload.to_string().chars().take(200).collect()
}
