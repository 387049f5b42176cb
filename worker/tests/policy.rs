//! Each rule of a policy, by the answer of a task that it stops.

#[path = "support/mod.rs"]
mod support;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use a3s_shared::protocol::{ErrorKind, Outcome, SessionLane, TaskResult};
use a3s_testkit::{Process, binary, eventually};
use serde_json::{Value, json};
use support::{BOUND, Job, Rig};
use tempfile::TempDir;

/// A worker that is held to a policy.
struct Held {
    rig: Rig,
    _policy: TempDir,
    _worker: Process,
}

impl Held {
    async fn to(policy: &str, arguments: &[&str]) -> Self {
        let rig = Rig::start().await;
        for name in ["src", "out"] {
            std::fs::create_dir(rig.workspace().join(name)).expect("a directory");
            std::fs::write(rig.workspace().join(name).join("a"), name).expect("a file");
        }
        let (dir, file) = policy_file(policy);
        let arguments = [&["--policy", &file], arguments].concat();
        let worker = rig.ready_worker("w", &arguments).await;
        Self {
            rig,
            _policy: dir,
            _worker: worker,
        }
    }

    async fn run(&self, tool: &'static str, payload: Value) -> TaskResult {
        let job = Job {
            lane: SessionLane::Execute,
            command: tool,
            payload,
            timeout: BOUND * 2,
            ..Job::default()
        };
        let id = self.rig.submit(job).await;
        self.rig.result(&id).await
    }

    async fn succeeds(&self, tool: &'static str, payload: Value) -> Value {
        let result = self.run(tool, payload).await;
        assert_eq!(result.outcome(), Outcome::Completed, "{result:#?}");
        result.result
    }

    /// The task is refused, by `rule` and with `why`.
    async fn refuses(&self, rule: &str, why: &str, tool: &'static str, payload: Value) {
        let result = self.run(tool, payload).await;
        assert_eq!(result.outcome(), Outcome::Failed, "{result:#?}");
        assert_eq!(result.error_kind, Some(ErrorKind::Refused), "{result:#?}");
        let error = result.error.unwrap_or_default();
        let rule = format!("refused by policy rule \"{rule}\"");
        assert!(error.contains(&rule) && error.contains(why), "{error}");
    }
}

fn policy_file(text: &str) -> (TempDir, String) {
    let dir = TempDir::new().expect("a directory");
    let file = dir.path().join("policy.toml");
    std::fs::write(&file, text).expect("a policy");
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("readable");
    (dir, file.to_str().expect("a name").to_owned())
}

#[tokio::test]
async fn a_tool_that_is_not_on_the_list_is_refused_and_not_offered() {
    let held = Held::to("tools = [\"read\", \"grep\"]", &[]).await;
    held.refuses(
        "tools",
        "bash is not one of grep, read",
        "bash",
        json!({"command": "true"}),
    )
    .await;
    held.succeeds("read", json!({"path": "src/a"})).await;
    let fleet = held.rig.broker.watch_fleet().await.expect("the workers");
    let tools = eventually("its heartbeat", BOUND, async || {
        fleet
            .workers()
            .into_iter()
            .next()
            .map(|w| w.tools)
            .ok_or("none yet".to_owned())
    });
    assert_eq!(tools.await, ["grep", "read"]);
    let unknown = held.run("review", json!({})).await;
    assert_eq!(unknown.error_kind, Some(ErrorKind::UnknownCommand));
    let error = unknown.error.unwrap_or_default();
    assert!(error.ends_with("this worker has grep, read"), "{error}");
}

#[tokio::test]
async fn files_are_read_and_written_below_the_roots_only() {
    let held = Held::to("[paths]\nread = [\"src\"]\nwrite = [\"out\"]", &[]).await;
    let workspace = held.rig.workspace();
    std::fs::write(workspace.join("top"), "top").expect("a file");
    std::os::unix::fs::symlink("../src/a", workspace.join("out/link")).expect("a link");

    let refused = [
        ("paths.read", "read", json!({"path": "top"})),
        ("paths.read", "read", json!({"path": "src/../top"})),
        ("paths.read", "ls", json!({})),
        ("paths.read", "glob", json!({"pattern": "**"})),
        ("paths.read", "grep", json!({"pattern": "t"})),
        ("paths.read", "list_files", json!({"path": "."})),
        (
            "paths.write",
            "write",
            json!({"path": "top", "content": "x"}),
        ),
        (
            "paths.write",
            "write",
            json!({"path": "src/new", "content": "x"}),
        ),
        (
            "paths.write",
            "write",
            json!({"path": "out/link", "content": "x"}),
        ),
        (
            "paths.write",
            "edit",
            json!({"path": "src/a", "old_string": "s", "new_string": "x"}),
        ),
    ];
    for (rule, tool, payload) in refused {
        let roots = if rule == "paths.read" {
            "src, out"
        } else {
            "out"
        };
        held.refuses(rule, &format!("is not below {roots}"), tool, payload)
            .await;
    }
    let failed = held
        .run("grep", json!({"pattern": "t", "files": ["top"]}))
        .await;
    assert!(
        !failed.result.to_string().contains("\"text\""),
        "{failed:#?}"
    );

    held.succeeds("read", json!({"path": "src/a"})).await;
    held.succeeds("read", json!({"path": "out/link"})).await;
    held.succeeds("grep", json!({"pattern": "s", "path": "src"}))
        .await;
    held.succeeds("ls", json!({"path": "out"})).await;
    held.succeeds("write", json!({"path": "out/new/b", "content": "x"}))
        .await;
    let edit = json!({"path": "out/a", "old_string": "out", "new_string": "in"});
    held.succeeds("edit", edit).await;
    assert_eq!(held.rig.file("out/a"), "in");
    assert_eq!(held.rig.file("src/a"), "src");
    assert_eq!(held.rig.file("top"), "top");
}

#[tokio::test]
async fn who_prints_or_answers_too_much_is_stopped() {
    let rig_script = "while :; do echo 0123456789; done";
    let dir = TempDir::new().expect("a directory");
    let script = dir.path().join("flood");
    std::fs::write(&script, format!("#!/bin/sh\n{rig_script}\n")).expect("a script");
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).expect("executable");
    let tool = format!("flood={}", script.display());
    let held = Held::to("[limits]\noutput = \"64K\"", &["--tool", &tool]).await;
    let rule = "limits.output";
    let why = "it printed more than 65536 bytes";
    held.refuses(rule, why, "bash", json!({"command": "yes"}))
        .await;
    held.refuses(
        rule,
        why,
        "bash",
        json!({"command": "head -c 70000 /dev/zero >&2"}),
    )
    .await;
    held.refuses(rule, why, "flood", json!({})).await;
    let exact = json!({"command": "head -c 65536 /dev/zero | tr '\\0' x"});
    let result = held.succeeds("bash", exact).await;
    assert_eq!(result["stdout"].as_str().map(str::len), Some(65_536));
    std::fs::write(held.rig.workspace().join("long"), "x\n".repeat(40_000)).expect("a file");
    held.refuses(rule, "65536 are allowed", "read", json!({"path": "long"}))
        .await;
    held.succeeds("read", json!({"path": "long", "limit": 100}))
        .await;
}

#[tokio::test]
async fn who_runs_too_long_is_stopped_and_keeps_what_it_printed() {
    let held = Held::to("[limits]\ntime = \"1500ms\"", &[]).await;
    let result = held
        .run("bash", json!({"command": "echo begun; sleep 7301"}))
        .await;
    assert_eq!(result.error_kind, Some(ErrorKind::Refused), "{result:#?}");
    let error = result.error.unwrap_or_default();
    assert_eq!(
        error,
        "refused by policy rule \"limits.time\": it ran longer than 1.5s"
    );
    assert_eq!(result.result["stdout"], "begun\n");
    held.succeeds("bash", json!({"command": "true"})).await;
}

#[tokio::test]
async fn of_a_limit_in_the_policy_and_an_option_the_smaller_holds() {
    let hog = json!({"command": "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done"});
    for (policy, option) in [("256M", "2G"), ("2G", "256M")] {
        let policy = format!("[limits]\nmemory = \"{policy}\"");
        let held = Held::to(&policy, &["--max-memory", option]).await;
        let result = held.run("bash", hog.clone()).await;
        let error = result.error.unwrap_or_default();
        assert!(error.contains("256 MiB at most"), "{error}");
    }
}

#[tokio::test]
async fn a_fork_bomb_in_the_sandbox_leaves_the_worker_to_the_next_task() {
    let rig = Rig::start().await;
    let dir = rig.workspace();
    std::fs::set_permissions(dir, Permissions::from_mode(0o777)).expect("anybody's workspace");
    let root = rustix::process::getuid().is_root();
    let most = if root { 60 } else { own_processes() + 60 };
    let (_policy, file) = policy_file(&format!("[limits]\nprocesses = {most}"));
    let bin = TempDir::new().expect("a directory");
    std::fs::set_permissions(bin.path(), Permissions::from_mode(0o755)).expect("readable");
    let program = if root {
        // Where the other user can reach it, whatever is above the target directory.
        let copy = bin.path().join("a3s-worker");
        std::fs::copy(binary("a3s-worker"), &copy).expect("a copy of the worker");
        let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        Process::at("setpriv").args(nobody).arg(copy)
    } else {
        Process::of("a3s-worker")
    };
    let worker = program
        .args([
            "--nats-url",
            rig.server.url(),
            "--policy",
            &file,
            "--workspace",
        ])
        .arg(dir)
        .start();
    worker.wait_for("ready for tasks", BOUND).await;
    let held = Held {
        rig,
        _policy: bin,
        _worker: worker,
    };
    // In sessions of their own, where no group reaches them.
    let bomb = "bomb() { setsid bash -c \"$(declare -f bomb); bomb\" & bomb & wait; }; bomb";
    let result = held
        .run("bash", json!({"command": bomb, "timeout": 3_000}))
        .await;
    assert_eq!(result.outcome(), Outcome::Failed, "{result:#?}");
    let error = result.error.unwrap_or_default();
    assert!(
        error.contains("timed out") || error.contains("processes at most"),
        "{error}"
    );
    let after = held.succeeds("bash", json!({"command": "echo fine"})).await;
    assert_eq!(after["output"], "fine\n");
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
