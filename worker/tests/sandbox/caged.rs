//! A worker in a sandbox, with a directory outside of it.

use std::path::{Path, PathBuf};

use a3s_shared::protocol::{Outcome, SessionLane, TaskResult};
use a3s_testkit::{Process, ProcessBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{BOUND, Job, Rig};

/// What no task may ever print.
pub(crate) const SECRET: &str = "the-cat-sleeps-at-noon";

/// A worker in a sandbox.
pub(crate) struct Caged {
    pub(crate) rig: Rig,
    pub(crate) worker: Process,
    outside: TempDir,
}

impl Caged {
    /// One that is held to `policy`.
    pub(crate) async fn start(policy: &str) -> Self {
        Self::with(policy, |worker| worker).await
    }

    /// One whose process is changed by `more` before it starts.
    pub(crate) async fn with(
        policy: &str,
        more: impl FnOnce(ProcessBuilder) -> ProcessBuilder,
    ) -> Self {
        let rig = Rig::start().await;
        let outside = TempDir::new().expect("a temporary directory");
        std::fs::write(outside.path().join("secret"), SECRET).expect("a secret");
        // For policies that let only a part of the workspace be written.
        std::fs::create_dir(rig.workspace().join("out")).expect("a directory");
        let file = outside.path().join("policy.toml");
        std::fs::write(&file, policy).expect("a policy");
        let worker = Process::of("a3s-worker")
            .args(["--nats-url", rig.server.url(), "--worker-id", "caged"])
            .arg("--workspace")
            .arg(rig.workspace())
            .arg("--policy")
            .arg(file);
        let worker = more(worker).start();
        worker.wait_for("ready for tasks", BOUND).await;
        Self {
            rig,
            worker,
            outside,
        }
    }

    /// A path outside of the workspace, which exists as a directory with the file `secret`.
    pub(crate) fn outside(&self) -> &Path {
        self.outside.path()
    }

    /// The file that nobody may read.
    pub(crate) fn secret(&self) -> PathBuf {
        self.outside.path().join("secret")
    }

    /// Whether programs are held by `what`; says so when not.
    pub(crate) fn held_by(&self, what: &str) -> bool {
        let told = self.worker.stdout() + &self.worker.stderr();
        let ready = told.lines().find(|line| line.contains("ready for tasks"));
        let held = ready.is_some_and(|line| line.contains(what));
        if !held {
            eprintln!("SKIPPED: programs are not held by {what} here: {ready:?}");
        }
        held
    }

    /// Whether programs cannot signal others: Landlock from version 6 on.
    pub(crate) fn holds_signals(&self) -> bool {
        let newer = (6..20).any(|version| {
            let told = self.worker.stdout() + &self.worker.stderr();
            told.contains(&format!("landlock v{version}"))
        });
        if !newer {
            eprintln!("SKIPPED: landlock is older than version 6 here");
        }
        newer
    }

    /// The result of a tool.
    pub(crate) async fn run(&self, tool: &'static str, payload: Value) -> TaskResult {
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

    /// The result of a command.
    pub(crate) async fn bash(&self, command: &str) -> TaskResult {
        self.run("bash", json!({ "command": command })).await
    }

    /// The output of a command that succeeds.
    pub(crate) async fn output(&self, command: &str) -> String {
        let result = self.bash(command).await;
        assert_eq!(
            result.outcome(),
            Outcome::Completed,
            "{command}: {result:#?}"
        );
        result.result["output"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Runs a command that tries to learn the secret, and must not.
    pub(crate) async fn keeps_secret(&self, command: &str) -> TaskResult {
        let result = self.bash(command).await;
        let told = serde_json::to_string(&result).expect("it is JSON");
        assert!(!told.contains(SECRET), "{command}: {result:#?}");
        result
    }
}
