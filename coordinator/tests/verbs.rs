//! The verbs that look at tasks and sessions and change them, as processes beside real workers.

#[allow(dead_code, reason = "another test program uses the rest")]
#[path = "cli/stage.rs"]
mod stage;

use std::path::Path;
use std::time::Duration;

use a3s_coordinator::{Coordinator, SessionQueueConfig, SubmitError, Task};
use a3s_shared::broker::{Broker, Settings, TaskOptions};
use a3s_shared::protocol::{
    Effect, Encoding, ExternalTask, LaneHandlerConfig, Outcome, RetryPolicy, Route, SessionLane,
    TaskHandlerMode, TaskResult, Token, clock,
};
use a3s_shared::runtime::{Role, connect};
use a3s_testkit::eventually;
use serde_json::{Value, json};
use stage::{Done, SOON, Stage, finish};

const EXECUTE: SessionLane = SessionLane::Execute;

/// How soon after `task cancel` has returned a cancelled tree is gone.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// A stage with its streams, and a way to submit without a session's process.
struct Bench {
    stage: Stage,
    broker: Broker,
}

impl Bench {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let client = stage.server.client().await;
        let broker = Broker::new(client, None, "a3s").expect("a valid prefix");
        let settings = Settings {
            ack_wait: Duration::from_secs(2),
            ..Settings::default()
        };
        broker.ensure(&settings).await.expect("the streams");
        Self { stage, broker }
    }

    /// A process that submits, as a library user has it: this one.
    async fn coordinator(&self) -> Coordinator {
        let (options, role) = (self.stage.server.options(), Role::coordinator("test"));
        let connection = connect(&options, &role).await.expect("the server");
        Coordinator::start(connection, Settings::default())
            .await
            .expect("a coordinator")
    }

    async fn submit(&self, command_type: &str, payload: Value) -> String {
        let id: String = Token::unique().into();
        let route = Route::Pool("default".into());
        self.submit_to("s", &route, &id, command_type, payload)
            .await;
        id
    }

    async fn submit_to(
        &self,
        session: &str,
        route: &Route,
        id: &str,
        command_type: &str,
        payload: Value,
    ) {
        let task = ExternalTask {
            task_id: id.into(),
            session_id: session.into(),
            lane: EXECUTE,
            command_type: command_type.into(),
            payload,
            timeout_ms: 300_000,
            deadline_ms: clock::now_ms() + 300_000,
        };
        let options = TaskOptions {
            effect: Effect::Once,
            retry: RetryPolicy::none(),
            encoding: Encoding::MessagePack,
            traceparent: None,
            workspace: None,
        };
        let accepted = self.broker.submit(&task, route, &options).await;
        accepted.expect("accepted");
    }

    async fn bash(&self, command: &str) -> String {
        self.submit("bash", json!({ "command": command })).await
    }

    /// A task whose shell prints `partial`, and the id of a grandchild that sleeps.
    async fn sleeping_tree(&self) -> (String, u32) {
        let script = "echo partial; sh -c 'sleep 300 & echo $! > pid.new; mv pid.new pid; wait'";
        let id = self.bash(script).await;
        let pid = eventually("a running tree", SOON, || async {
            let pid = std::fs::read_to_string(self.stage.path().join("pid"));
            pid.map_err(|e| e.to_string())
        });
        let pid = pid.await.trim().parse().expect("a process id");
        (id, pid)
    }

    async fn result(&self, id: &str) -> TaskResult {
        eventually("a result", SOON, || async {
            let found = self.broker.result("s", id).await;
            found
                .map_err(|e| e.to_string())?
                .ok_or("none yet".to_owned())
        })
        .await
    }

    /// What a verb prints, one JSON value a line.
    async fn json(&self, arguments: &[&str]) -> Vec<Value> {
        let done = self.ok(arguments).await;
        let lines = done.stdout.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    }

    async fn ok(&self, arguments: &[&str]) -> Done {
        let done = self.stage.run(arguments).await;
        assert_eq!(done.status, 0, "{arguments:?}: {done:?}");
        done
    }

    fn has(&self, file: &str) -> bool {
        self.stage.path().join(file).exists()
    }
}

/// Waits until a process is gone; one that is dead and not reaped yet counts.
async fn is_gone(pid: u32) {
    eventually("the end of the process", GONE_WITHIN, || async {
        let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
        let lives = stat.is_ok_and(|stat| !stat.contains(") Z "));
        (!lives).then_some(()).ok_or("it lives")
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_tree_is_gone_and_what_it_printed_is_kept() {
    let bench = Bench::new().await;
    let _worker = bench.stage.worker(&[]).await;
    let (id, pid) = bench.sleeping_tree().await;
    let shown = &bench.json(&["task", "show", &id, "--json"]).await[0];
    assert_eq!(shown["task"]["state"], "running");
    let ended = &bench.json(&["task", "cancel", &id, "--json"]).await[0];
    is_gone(pid).await;
    assert_eq!(ended["outcome"], "cancelled");
    assert_eq!(ended["result"]["stdout"], "partial\n");
    assert_ne!(ended["worker_id"], "coordinator", "its worker answered");
}

#[tokio::test]
async fn a_queued_task_that_is_cancelled_never_starts() {
    let bench = Bench::new().await;
    let id = bench.bash("touch started").await;
    let listed = bench.json(&["task", "ls", "--json"]).await;
    assert_eq!(listed[0]["task_id"], id.as_str());
    assert_eq!(listed[0]["state"], "queued");
    let done = bench.ok(&["task", "cancel", &id]).await;
    assert!(done.stdout.contains("cancelled"), "{done:?}");
    assert!(bench.json(&["task", "ls", "--json"]).await.is_empty());
    let _worker = bench.stage.worker(&["-j", "1"]).await;
    let next = bench.bash("echo done").await;
    assert!(bench.result(&next).await.success);
    assert!(!bench.has("started"));
    assert_eq!(bench.result(&id).await.outcome(), Outcome::Cancelled);
}

#[tokio::test]
async fn a_worker_that_was_away_obeys_when_it_returns() {
    let bench = Bench::new().await;
    let mut worker = bench.stage.worker(&[]).await;
    let (id, pid) = bench.sleeping_tree().await;
    worker.stop_process();
    let ended = &bench.json(&["task", "cancel", &id, "--json"]).await[0];
    assert_eq!(ended["outcome"], "cancelled");
    assert_eq!(
        ended["worker_id"], "coordinator",
        "its worker could not answer"
    );
    worker.continue_process();
    is_gone(pid).await;
    assert_eq!(bench.result(&id).await.worker_id, "coordinator");
}

#[tokio::test]
async fn a_task_that_has_ended_is_not_cancelled() {
    let bench = Bench::new().await;
    let _worker = bench.stage.worker(&[]).await;
    let id = bench.bash("echo out").await;
    bench.result(&id).await;
    let done = bench.stage.run(&["task", "cancel", &id]).await;
    assert_eq!(done.status, 1, "{done:?}");
    assert!(done.stdout.contains("completed"), "{done:?}");
    let done = bench.ok(&["task", "result", &id]).await;
    assert_eq!(done.stdout, "out\n");
    let done = bench.stage.run(&["task", "cancel", "nosuch"]).await;
    assert_eq!(done.status, 2, "{done:?}");
    assert!(done.stderr.contains("a3s-coordinator task ls"), "{done:?}");
}

#[tokio::test]
async fn what_waits_in_its_callers_process_is_cancelled_too() {
    let bench = Bench::new().await;
    let coordinator = bench.coordinator().await;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = coordinator.session("waits").config(config);
    let session = session.open().await.expect("a session");
    // Nobody serves the lane: two are at the broker, the rest waits here.
    let mut handles = Vec::new();
    for n in 0..6 {
        let task = Task::new("bash", json!({ "command": "echo ran >> ran" })).id(format!("t{n}"));
        handles.push(session.submit(EXECUTE, task).await.expect("it is taken"));
    }
    eventually("two tasks at the broker", SOON, || async {
        let listed = bench
            .json(&["task", "ls", "--session", "waits", "--json"])
            .await;
        (listed.len() == 2)
            .then_some(())
            .ok_or(format!("{listed:?}"))
    })
    .await;
    bench
        .ok(&["task", "cancel", "t5", "--session", "waits"])
        .await;
    let last = handles
        .pop()
        .expect("six handles")
        .outcome()
        .await
        .expect("an outcome");
    assert_eq!(last.outcome(), Outcome::Cancelled, "{last:?}");

    bench.ok(&["session", "cancel", "waits"]).await;
    for handle in handles {
        let result = handle.outcome().await.expect("an outcome");
        assert_eq!(result.outcome(), Outcome::Cancelled, "{result:?}");
    }
    let _worker = bench.stage.worker(&["-j4"]).await;
    let later = Task::new("bash", json!({ "command": "true" }));
    let later = session.submit(EXECUTE, later).await.expect("it is taken");
    let result = later.outcome().await.expect("an outcome");
    assert_eq!(
        result.outcome(),
        Outcome::Completed,
        "what comes later is not touched"
    );
    assert!(!bench.has("ran"), "no cancelled task ran");
    coordinator.close().await;
}

#[tokio::test]
async fn a_paused_session_holds_its_tasks_until_it_is_resumed() {
    let bench = Bench::new().await;
    let _worker = bench.stage.worker(&[]).await;
    let coordinator = bench.coordinator().await;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = coordinator.session("s").config(config);
    let session = session.open().await.expect("a session");
    bench.ok(&["session", "pause", "s"]).await;
    let task = || Task::new("bash", json!({ "command": "true" }));
    let mut handles = Vec::new();
    loop {
        handles.push(session.submit(EXECUTE, task()).await.expect("taken"));
        if session.queue_stats().await.pending_count() > 0 {
            break;
        }
        handles.remove(0).await.expect("the pause has not arrived");
    }
    let shown = &bench.json(&["session", "show", "s", "--json"]).await[0];
    assert_eq!(shown["state"], "paused");
    assert_eq!(session.queue_stats().await.pending_count(), 1);
    bench.ok(&["session", "resume", "s"]).await;
    for handle in handles {
        assert!(handle.await.expect("a result").success);
    }
    bench.ok(&["session", "end", "s"]).await;
    eventually("a closed session", SOON, || async {
        match session.submit(EXECUTE, task()).await {
            Err(SubmitError::Closed { .. }) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_lane_that_is_set_by_hand_is_set_in_the_running_session() {
    let bench = Bench::new().await;
    let coordinator = bench.coordinator().await;
    let session = coordinator.session("s").open().await.expect("a session");
    let set = [
        "lane",
        "set",
        "s",
        "query",
        "--mode",
        "external",
        "--timeout",
        "5s",
    ];
    bench.ok(&set).await;
    let wanted = LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        timeout_ms: 5_000,
    };
    eventually("the handler", SOON, || async {
        let found = session.get_lane_handler(SessionLane::Query).await;
        (found == wanted).then_some(()).ok_or(format!("{found:?}"))
    })
    .await;
    let lanes = bench
        .json(&["lane", "ls", "--session", "s", "--json"])
        .await;
    assert_eq!(lanes.len(), 4);
    assert_eq!(lanes[1]["handler"]["timeout_ms"], 5_000);
    let done = bench
        .stage
        .run(&["lane", "set", "nosuch", "query", "--mode", "hybrid"])
        .await;
    assert_eq!(done.status, 2, "{done:?}");
}

#[tokio::test]
async fn stats_count_what_is_queued_and_what_runs() {
    let bench = Bench::new().await;
    let _worker = bench.stage.worker(&["-j", "1"]).await;
    let (_, pid) = bench.sleeping_tree().await;
    for _ in 0..3 {
        bench.bash("true").await;
    }
    let stats = &bench.json(&["stats", "--json"]).await[0];
    assert_eq!(
        (&stats["queued"], &stats["running"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(stats["lanes"][0]["session"], "s");
    assert_eq!(stats["lanes"][0]["lane"], "Execute");
    let sessions = bench.json(&["session", "ls", "--json"]).await;
    assert_eq!(sessions[0]["tasks"]["execute"]["queued"], 3);
    let lanes = bench.json(&["lane", "ls", "--json"]).await;
    assert_eq!(
        (&lanes[2]["queued"], &lanes[2]["running"]),
        (&json!(3), &json!(1))
    );
    let ended = bench.json(&["session", "cancel", "s", "--json"]).await;
    assert_eq!(ended.len(), 4);
    assert!(
        ended.iter().all(|e| e["outcome"] == "cancelled"),
        "{ended:?}"
    );
    is_gone(pid).await;
    eventually("an empty stream", SOON, || async {
        let stats = bench.json(&["stats", "--session", "s", "--json"]).await;
        let left = stats[0]["queued"] != 0 || stats[0]["running"] != 0;
        (!left).then_some(()).ok_or(format!("{stats:?}"))
    })
    .await;
}

#[tokio::test]
async fn tasks_for_a_sessions_own_workers_are_seen_too() {
    let bench = Bench::new().await;
    let settings = Settings::default();
    let made = bench.broker.ensure_own("mine", [2; 4], &settings).await;
    made.expect("its consumers");
    let pool = Route::Pool("default".into());
    for (session, route) in [("mine", &Route::Own), ("other", &pool)] {
        let payload = json!({ "command": "true" });
        bench.submit_to(session, route, "t", "bash", payload).await;
    }
    let stats = bench.json(&["stats", "--session", "mine", "--json"]).await;
    assert_eq!(stats[0]["queued"], 1);
    assert_eq!(stats[0]["lanes"][0]["route"], "own");
    let done = bench.stage.run(&["task", "cancel", "t"]).await;
    assert_eq!(done.status, 2, "{done:?}");
    assert!(done.stderr.contains("mine, other"), "{done:?}");
    let cancel = bench
        .stage
        .coordinator(&["task", "cancel", "t", "--session", "mine"]);
    let done = finish(cancel.env("A3S_JSON", "1").start()).await;
    let ended: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(ended["outcome"], "cancelled");
    let listed = bench.json(&["task", "ls", "--json"]).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["session_id"], "other");
}

#[tokio::test]
async fn a_dead_letter_that_is_replayed_has_a_result() {
    let bench = Bench::new().await;
    let script = "#!/bin/sh\n[ -e fixed ] || exit 75\necho '{\"fixed\": true}'\n";
    bench.stage.write("flaky", script);
    let path = bench.stage.path().join("flaky");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).expect("an executable script");
    let tool = format!("flaky={}", path.display());
    let _worker = bench.stage.worker(&["--tool", &tool]).await;
    let id = bench.submit("flaky", json!({"n": 1})).await;
    assert_eq!(bench.result(&id).await.outcome(), Outcome::DeadLettered);

    let letters = bench
        .json(&["dlq", "ls", "--type", "flaky", "--json"])
        .await;
    assert_eq!(letters[0]["task_id"], id.as_str());
    assert!(
        bench
            .json(&["dlq", "ls", "--lane", "query", "--json"])
            .await
            .is_empty()
    );
    let shown = bench.ok(&["dlq", "show", &id]).await;
    assert!(shown.stdout.contains(r#"payload: {"n":1}"#), "{shown:?}");
    for dry in [
        &["dlq", "replay", "--session", "s"][..],
        &["dlq", "purge", "--session", "s"],
    ] {
        let done = bench.ok(dry).await;
        assert!(done.stdout.contains("would "), "{done:?}");
        assert!(done.stderr.contains("--yes"), "{done:?}");
    }
    assert_eq!(bench.json(&["dlq", "export"]).await.len(), 1);

    bench.stage.write("fixed", "");
    bench.ok(&["dlq", "replay", &id]).await;
    let result = bench.result(&id).await;
    assert!(result.success, "{result:?}");
    assert!(bench.json(&["dlq", "ls", "--json"]).await.is_empty());
}

#[tokio::test]
async fn watch_shows_a_task_start_and_complete() {
    let bench = Bench::new().await;
    let _worker = bench.stage.worker(&[]).await;
    let lines = bench
        .stage
        .coordinator(&["watch", "--session", "s"])
        .start();
    let mut values = bench.stage.coordinator(&["watch", "--json"]).start();
    lines.wait_for("watching", SOON).await;
    values.wait_for("watching", SOON).await;
    let id = bench.bash("true").await;
    bench.result(&id).await;
    for line in ["started", "completed"] {
        let line = format!("{line:<13} s execute bash {id}");
        lines.wait_for(&line, SOON).await;
    }
    values.wait_for("queue.command.completed", SOON).await;
    values.terminate();
    assert!(values.wait(SOON).await.success());
    let first = values.stdout().lines().next().map(str::to_owned);
    let event: Value = serde_json::from_str(&first.expect("an event")).expect("JSON");
    assert_eq!(event["task_id"], id.as_str());
}
