//! What a worker says at its start, and when it does not start.

use std::time::Duration;

use a3s_testkit::{Process, eventually};
use tempfile::TempDir;

use super::caged::Caged;
use super::support::{BOUND, Rig};

/// What a worker says that ends at once, with the exit code of wrong usage.
async fn complaint(arguments: &[&str]) -> String {
    let mut worker = Process::of("a3s-worker").args(arguments).start();
    let status = worker.wait(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(2), "{}", worker.stderr());
    worker.stderr()
}

#[tokio::test]
async fn a_policy_that_makes_no_sense_is_told_by_line() {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("policy.toml");
    let policy = file.to_str().expect("a name");
    for (text, word) in [
        (
            "tools = [\"read\"]\nnetwrk = true",
            "line 2: unknown field `netwrk`",
        ),
        ("[limits]\ntime = \"soon\"", "line 2: \"soon\" is no time"),
        (
            "[paths]\nread = [\"not-there\"]",
            "make it, or leave it out",
        ),
        (
            "tools = [\"read\", \"raed\"]",
            "this worker has no tool \"raed\"",
        ),
    ] {
        std::fs::write(&file, text).expect("written");
        let rig = text.contains("raed").then(Rig::start);
        let url = match rig {
            Some(rig) => {
                let rig = rig.await;
                let said = complaint(&["--policy", policy, "--nats-url", rig.server.url()]).await;
                assert!(said.contains(word), "{said:?} does not say {word:?}");
                continue;
            }
            None => "nats://127.0.0.1:1",
        };
        let said = complaint(&["--policy", policy, "--nats-url", url]).await;
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    let said = complaint(&["--policy", "/not/there.toml"]).await;
    assert!(
        said.contains("cannot read the policy /not/there.toml"),
        "{said}"
    );
}

#[tokio::test]
async fn a_key_or_a_policy_within_reach_of_its_tasks_is_refused() {
    let dir = TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a name").to_owned();
    std::fs::create_dir(dir.path().join("tree")).expect("a directory");
    for name in ["policy.toml", "tree/policy.toml", "tree/worker.nk"] {
        std::fs::write(dir.path().join(name), "").expect("written");
    }
    let (outside, inside, tree) = (path("policy.toml"), path("tree/policy.toml"), path("tree"));
    let key = path("tree/worker.nk");
    let said = complaint(&["--policy", &outside, "--workspace", &tree, "--nkey", &key]).await;
    assert!(
        said.contains("its tasks may read: keep it elsewhere"),
        "{said}"
    );
    let said = complaint(&["--policy", &inside, "--workspace", &tree]).await;
    assert!(
        said.contains("tasks may write: keep it elsewhere"),
        "{said}"
    );
}

/// The level that a worker with these arguments tells of itself, and the worker.
async fn level(rig: &Rig, id: &str, arguments: &[&str]) -> (String, Process) {
    let worker = rig.ready_worker(id, arguments).await;
    let fleet = rig.broker.watch_fleet().await.expect("the workers");
    let told = eventually("its heartbeat", BOUND, async || {
        let found = fleet.workers().into_iter().find(|w| w.worker_id == id);
        found.and_then(|w| w.sandbox).ok_or("none yet".to_owned())
    });
    (told.await, worker)
}

#[tokio::test]
async fn the_level_is_told_at_start_and_by_heartbeats() {
    let rig = Rig::start().await;
    let (off, worker) = level(&rig, "w1", &[]).await;
    assert_eq!(off, "off");
    assert!((worker.stdout() + &worker.stderr()).contains("sandbox=\"off\""));
    let (auto, worker) = level(&rig, "w2", &["--sandbox", "auto"]).await;
    assert!(auto.contains("seccomp"), "{auto}");
    let said = worker.stdout() + &worker.stderr();
    assert!(said.contains(&format!("sandbox={auto:?}")), "{said}");
    let (wrapped, _worker) = level(&rig, "w3", &["--wrap", "env WRAPPED=yes"]).await;
    assert_eq!(wrapped, "wrap env");
    if auto.contains("landlock") {
        let (required, _worker) = level(&rig, "w4", &["--sandbox", "require"]).await;
        assert_eq!(required, auto);
    } else {
        let said = complaint(&["--sandbox", "require"]).await;
        assert!(said.contains("not all of landlock"), "{said}");
    }
}

#[tokio::test]
async fn a_wrapping_command_is_tried_at_start_and_then_around_everything() {
    let said = complaint(&["--wrap", "sh -c 'echo no such luck >&2; exit 9'"]).await;
    assert!(
        said.contains("--wrap") && said.contains("no such luck"),
        "{said}"
    );
    let caged = Caged::with("", |worker| worker.args(["--wrap", "env WRAPPED=yes"])).await;
    assert_eq!(caged.output("echo $WRAPPED").await, "yes\n");
    let said = caged.worker.stdout() + &caged.worker.stderr();
    assert!(
        said.contains("programs are not held to all rules"),
        "{said}"
    );
}
