//! `doctor` sees what is broken, for real, says how to mend it, and ends accordingly.

use std::process::Command;
use std::time::Duration;

use a3s_shared::broker::{Broker, Settings};
use a3s_testkit::{Process, Server, eventually};
use serde_json::Value;

/// For one step on a machine that is busy with other things.
const BOUND: Duration = Duration::from_secs(60);

/// A server with everything on it, and a worker that is ready.
struct Stage {
    server: Server,
    worker: Process,
    workspace: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::start().await;
        let broker = broker(&server).await;
        broker
            .ensure(&Settings::default())
            .await
            .expect("the streams");
        let workspace = tempfile::tempdir().expect("a directory");
        let worker = Process::of("a3s-worker")
            .args([
                "--nats-url",
                server.url(),
                "--worker-id",
                "w1",
                "--lanes",
                "query",
            ])
            .arg("--workspace")
            .arg(workspace.path())
            .start();
        worker.wait_for("ready for tasks", BOUND).await;
        let stage = Self {
            server,
            worker,
            workspace,
        };
        // The first heartbeat may be on its way.
        eventually("all is well", BOUND, async || {
            let (status, report) = stage.doctor(&[]).await;
            let good = |check: &str| {
                let findings = report["findings"].as_array();
                findings.is_some_and(|all| {
                    all.iter()
                        .any(|f| f["check"] == check && f["state"] == "good")
                })
            };
            // What this server cannot tell is unknown; all else is seen.
            let seen = ["clock", "storage", "topology", "permissions", "workers"];
            let well = status == Some(0) && seen.into_iter().all(good);
            well.then_some(()).ok_or(report.to_string())
        })
        .await;
        stage
    }

    /// What it reports as JSON, and its exit status.
    async fn doctor(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let mut doctor = Process::of("a3s-coordinator")
            .args(["doctor", "--json", "--nats-url", self.server.url()])
            .args(arguments)
            .current_dir(self.workspace.path())
            .start();
        let status = doctor.wait(BOUND).await;
        let report = serde_json::from_str(&doctor.stdout());
        let report = report.unwrap_or_else(|error| panic!("{error}: {}", doctor.stderr()));
        (status.code(), report)
    }

    /// Waits until it finds that `check` is wrong with `text` in it, and returns the fix.
    async fn finds(&self, check: &str, text: &str, arguments: &[&str]) -> String {
        eventually(&format!("{check}: {text}"), BOUND, async || {
            let (status, report) = self.doctor(arguments).await;
            let findings = report["findings"].as_array().cloned().unwrap_or_default();
            let found = findings.into_iter().find(|finding| {
                let said = finding["text"].as_str().unwrap_or_default();
                finding["check"] == check && finding["state"] == "wrong" && said.contains(text)
            });
            match found {
                Some(finding) if status == Some(1) && report["well"] == false => {
                    Ok(finding["fix"].as_str().unwrap_or_default().to_owned())
                }
                _ => Err(format!("{status:?}: {report}")),
            }
        })
        .await
    }
}

async fn broker(server: &Server) -> Broker {
    Broker::new(server.client().await, None, "a3s").expect("a valid prefix")
}

#[tokio::test]
async fn a_frozen_worker_is_found_and_its_process_named() {
    let mut stage = Stage::set().await;
    let pid = stage.worker.pid().to_string();
    stage.worker.stop_process();
    let fix = stage
        .finds("workers", "w1 is connected and answers nothing", &[])
        .await;
    assert!(fix.contains(&pid), "{fix}");
    stage.worker.continue_process();
}

#[tokio::test]
async fn a_task_that_nobody_takes_is_found_and_who_would_take_it_named() {
    let stage = Stage::set().await;
    let client = stage.server.client().await;
    let published = client.publish("a3s.demo.execute", "{}".into()).await;
    published.expect("the connection is open");
    let fix = stage
        .finds("lag", "pool-default-execute", &["--max-wait", "100ms"])
        .await;
    assert!(
        fix.contains("a3s-worker --pool default --lanes execute"),
        "{fix}"
    );
    let (_, patient) = stage.doctor(&["--max-wait", "1h"]).await;
    assert_eq!(patient["well"], true, "{patient}");
}

#[tokio::test]
async fn a_changed_stream_and_a_missing_one_are_found() {
    let stage = Stage::set().await;
    if Command::new("nats").arg("--version").output().is_err() {
        let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
        assert!(!ci, "the `nats` CLI is not installed");
        eprintln!("SKIPPED: a changed stream, because the `nats` CLI is not installed");
        return;
    }
    let nats = async |arguments: &[&str]| {
        let home = stage.workspace.path();
        let mut nats = Process::at("nats")
            .env("HOME", home)
            .env("XDG_CONFIG_HOME", home)
            .args(["--server", stage.server.url()])
            .args(arguments)
            .start();
        let status = nats.wait(BOUND).await;
        assert!(status.success(), "{}{}", nats.stdout(), nats.stderr());
    };
    nats(&[
        "stream",
        "edit",
        "A3S_RESULTS",
        "--max-age",
        "1h",
        "--force",
    ])
    .await;
    let fix = stage.finds("topology", "A3S_RESULTS: max_age", &[]).await;
    assert!(fix.contains("nats stream edit A3S_RESULTS"), "{fix}");
    nats(&["stream", "rm", "A3S_DLQ", "--force"]).await;
    let fix = stage.finds("topology", "not there: A3S_DLQ", &[]).await;
    assert!(fix.contains("a3s-coordinator serve"), "{fix}");
}

#[tokio::test]
async fn what_a_session_that_is_gone_left_behind_is_found() {
    let stage = Stage::set().await;
    let broker = broker(&stage.server).await;
    let ensured = broker
        .ensure_own("gone", [1; 4], &Settings::default())
        .await;
    ensured.expect("its consumers");
    let fix = stage.finds("orphans", "own-gone-query", &[]).await;
    assert!(fix.contains("nats consumer rm A3S_OWN own-gone-"), "{fix}");
}

#[tokio::test]
async fn a_full_stream_and_too_small_messages_are_found() {
    let server = Server::builder().config("max_payload: 64KB").start().await;
    let broker = broker(&server).await;
    let small = Settings {
        stream_mib: 1,
        ..Settings::default()
    };
    broker.ensure(&small).await.expect("the streams");
    let client = server.client().await;
    for _ in 0..15 {
        let body = vec![b'x'; 60_000].into();
        client
            .publish("a3s.demo.query", body)
            .await
            .expect("the connection is open");
    }
    client.flush().await.expect("it is sent");
    let stage = Stage {
        worker: Process::at("true").start(),
        workspace: tempfile::tempdir().expect("a directory"),
        server,
    };
    stage.finds("payload", "65536 bytes", &[]).await;
    let fix = stage.finds("streams", "A3S_TASKS holds", &[]).await;
    assert!(fix.contains("--max-bytes"), "{fix}");
    stage.finds("workers", "no worker is there", &[]).await;
}

#[tokio::test]
async fn without_a_server_there_is_nothing_to_look_at() {
    let mut doctor = Process::of("a3s-coordinator")
        .args(["doctor", "--nats-url", "nats://127.0.0.1:1"])
        .start();
    let status = doctor.wait(BOUND).await;
    assert_eq!(status.code(), Some(3), "{}", doctor.stderr());
}
