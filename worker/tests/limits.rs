//! Commands that want too much are stopped with an error that says so, and their worker lives on.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use a3s_shared::protocol::{Outcome, SessionLane, TaskResult};
use a3s_testkit::{Process, binary};
use serde_json::json;
use support::{BOUND, Job, Rig, shell};

/// Has a command run by the only worker, then a harmless one.
async fn run(rig: &Rig, command: &str) -> TaskResult {
    // A busy machine gives a second of its processor in many.
    let timeout = BOUND * 2;
    let job = shell(SessionLane::Execute, command);
    let id = rig.submit(Job { timeout, ..job }).await;
    let result = rig.result(&id).await;
    let after = rig.submit(shell(SessionLane::Execute, "echo fine")).await;
    let after = rig.result(&after).await;
    assert_eq!(
        after.result["output"], "fine\n",
        "the worker lives on: {after:?}"
    );
    result
}

fn says(result: &TaskResult, what: &str) {
    assert_eq!(result.outcome(), Outcome::Failed, "{result:?}");
    let error = result.error.as_deref().unwrap_or_default();
    assert!(
        error.contains(what),
        "{error:?} does not say {what:?}: {result:?}"
    );
}

#[tokio::test]
async fn a_memory_hog_is_told_that_there_is_no_more() {
    let rig = Rig::start().await;
    let _worker = rig.ready_worker("w", &["--max-memory", "256M"]).await;
    // A variable of the shell that doubles until it cannot.
    let result = run(&rig, "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done").await;
    says(&result, "256 MiB at most (--max-memory");
}

#[tokio::test]
async fn a_busy_loop_is_killed_when_its_time_is_used_up() {
    let rig = Rig::start().await;
    let _worker = rig.ready_worker("w", &["--max-cpu-seconds", "1"]).await;
    says(
        &run(&rig, "while :; do :; done").await,
        "1 s of processor time (--max-cpu-seconds",
    );
    // The same in a child of the shell, and with a signal handler that will not go.
    let child = run(&rig, "bash -c 'while :; do :; done'; exit $?").await;
    says(&child, "1 s of processor time (--max-cpu-seconds");
    says(
        &run(&rig, "trap '' XCPU; while :; do :; done").await,
        "killed by signal 9",
    );
}

#[tokio::test]
async fn the_limits_hold_for_a_program_of_ones_own_too() {
    let rig = Rig::start().await;
    let script = rig.script("busy.sh", "while :; do :; done");
    let tool = format!("busy={script}");
    let arguments = ["--max-cpu-seconds", "1", "--tool", &tool];
    let _worker = rig.ready_worker("w", &arguments).await;
    let job = Job {
        command: "busy",
        payload: json!({}),
        timeout: BOUND * 2,
        ..Job::default()
    };
    let id = rig.submit(job).await;
    says(
        &rig.result(&id).await,
        "1 s of processor time (--max-cpu-seconds",
    );
}

#[tokio::test]
async fn a_fork_bomb_runs_out_of_processes() {
    let rig = Rig::start().await;
    let _worker = restricted_worker(&rig).await;
    let bomb = "bomb() { bomb & bomb & wait; }; bomb";
    let job = Job {
        payload: json!({"command": bomb, "timeout": 3_000}),
        ..shell(SessionLane::Execute, "")
    };
    let id = rig.submit(job).await;
    says(&rig.result(&id).await, "processes at most (--max-processes");
    says(
        &run(&rig, "echo before; exit 3").await,
        "exited with code 3",
    );
}

/// A worker that may have few processes. Root may have any number, so it is not root's.
async fn restricted_worker(rig: &Rig) -> Process {
    let dir = rig.workspace();
    std::fs::set_permissions(dir, Permissions::from_mode(0o777)).expect("anybody's workspace");
    let root = rustix::process::getuid().is_root();
    let program = if root {
        // Where the other user can reach it, whatever is above the target directory.
        let copy = dir.join("a3s-worker");
        std::fs::copy(binary("a3s-worker"), &copy).expect("a copy of the worker");
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        Process::at("setpriv").args(nobody).arg(copy)
    } else {
        Process::of("a3s-worker")
    };
    let most = if root { 60 } else { own_processes() + 60 };
    let worker = program
        .args([
            "--nats-url",
            rig.server.url(),
            "--worker-id",
            "w",
            "--workspace",
        ])
        .arg(dir)
        .args(["--max-processes", &most.to_string()])
        .start();
    worker.wait_for("ready for tasks", BOUND).await;
    worker
}

/// How many processes and threads this user has by now.
fn own_processes() -> usize {
    use std::os::unix::fs::MetadataExt;
    let uid = rustix::process::getuid().as_raw();
    let entries = std::fs::read_dir("/proc").expect("there is /proc");
    let own = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.metadata().is_ok_and(|data| data.uid() == uid));
    own.filter_map(|entry| std::fs::read_dir(entry.path().join("task")).ok())
        .map(Iterator::count)
        .sum()
}

#[tokio::test]
async fn a_limit_that_would_not_hold_is_refused() {
    if !rustix::process::getuid().is_root() {
        return; // it would hold
    }
    let mut worker = Process::of("a3s-worker")
        .args(["--max-processes", "50"])
        .start();
    assert_eq!(worker.wait(Duration::from_secs(30)).await.code(), Some(2));
    assert!(
        worker.stderr().contains("does not bind root"),
        "{}",
        worker.stderr()
    );
}
