//! An embedded server and local workers: there when wanted, gone with their coordinator.

use std::collections::BTreeMap;
use std::path::Path;

use a3s_testkit::{Process, ProcessBuilder, binary};
use serde_json::Value;

use crate::stage::{SOON, finish, gone};

fn coordinator(state: &Path, arguments: &[&str]) -> ProcessBuilder {
    binary("a3s-worker");
    Process::of("a3s-coordinator")
        // Hidden, so that no search meets the files of the server's store, which come and go.
        .env("A3S_STATE_DIR", state.join(".state"))
        .current_dir(state)
        .arg("--embedded")
        .args(arguments)
}

async fn serve(state: &Path) -> Process {
    let serve = coordinator(state, &["--local-workers", "2", "serve"]).start();
    serve.wait_for("stop with Ctrl-C", SOON).await;
    serve
}

async fn worker_pids(state: &Path) -> Vec<u64> {
    let done = finish(coordinator(state, &["workers", "--json"]).start()).await;
    done.stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
        .filter_map(|worker| worker["pid"].as_u64())
        .collect()
}

#[tokio::test]
async fn one_command_brings_server_and_workers_and_takes_them_away() {
    let state = tempfile::tempdir().expect("a directory");
    std::fs::write(state.path().join("a.txt"), "needle\n").expect("a file");
    let search = coordinator(state.path(), &["--local-workers", "2", "search", "needle"]);
    let done = finish(search.start()).await;
    assert_eq!(done.stdout, "a.txt:1:needle\n", "{}", done.stderr);
    assert_eq!(done.status, 0, "{}", done.stderr);
    let done = finish(coordinator(state.path(), &["env"]).start()).await;
    assert_eq!(done.status, 3, "no server is left to join: {done:?}");
}

#[tokio::test]
async fn others_join_a_serving_coordinator_with_what_env_prints() {
    let state = tempfile::tempdir().expect("a directory");
    let mut serve = serve(state.path()).await;
    let done = finish(coordinator(state.path(), &["env", "--json"]).start()).await;
    let variables: BTreeMap<String, String> =
        serde_json::from_str(&done.stdout).expect("names and values");
    assert!(variables.contains_key("NATS_PASSWORD"), "{done:?}");
    let mut other = Process::of("a3s-coordinator").args(["submit", "ls", "{}"]);
    for (name, value) in variables {
        other = other.env(name, value);
    }
    let done = finish(other.start()).await;
    assert_eq!(done.status, 0, "{done:?}");
    let pids = worker_pids(state.path()).await;
    assert_eq!(pids.len(), 2);
    serve.terminate();
    assert_eq!(finish(serve).await.status, 0);
    gone(&pids).await;
}

#[tokio::test]
async fn workers_do_not_outlive_a_coordinator_that_was_killed() {
    let state = tempfile::tempdir().expect("a directory");
    let mut serve = serve(state.path()).await;
    let pids = worker_pids(state.path()).await;
    assert_eq!(pids.len(), 2);
    serve.kill();
    gone(&pids).await;
}
