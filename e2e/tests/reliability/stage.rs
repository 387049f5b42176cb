//! A batch of tasks, the workers that run it, and what must come of it whatever happens meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use a3s_testkit::{Process, ProcessBuilder, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The longest that anything here may take on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(240);

/// The lease, in seconds: short, so that what was lost with a link is soon somebody else's.
const ACK_WAIT: &str = "3";

/// How many tasks a batch has.
pub(crate) const TASKS: usize = 200;

/// A workspace, and who works in it.
pub(crate) struct Stage {
    dir: TempDir,
    replicas: &'static str,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let replicas = "1";
        Self { dir, replicas }
    }

    /// On a cluster, where everything is kept three times.
    pub(crate) fn replicated() -> Self {
        let replicas = "3";
        Self {
            replicas,
            ..Self::new()
        }
    }

    fn process(&self, name: &str, url: &str) -> ProcessBuilder {
        Process::of(name)
            .args(["--nats-url", url])
            .env("A3S_ACK_WAIT", ACK_WAIT)
            .env("A3S_REPLICAS", self.replicas)
    }

    /// A worker with four slots that reaches the server by `url`.
    pub(crate) async fn worker(&self, url: &str, arguments: &[&str]) -> Process {
        let worker = self
            .process("a3s-worker", url)
            .args(["-j", "4", "--workspace"]);
        let worker = worker.arg(self.dir.path()).args(arguments).start();
        worker.wait_for("ready for tasks", BOUND).await;
        worker
    }

    /// A file beside the workers' tree; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("the file is written");
        path.display().to_string()
    }

    /// A coordinator that submits one task.
    pub(crate) fn submit(&self, url: &str, arguments: &[&str]) -> Process {
        let seconds = format!("{}s", BOUND.as_secs());
        let coordinator = self.process("a3s-coordinator", url);
        let coordinator = coordinator.args(["submit", "--timeout", &seconds]);
        coordinator.args(arguments).start()
    }

    /// A coordinator that runs [`TASKS`] tasks, each of which prints its number.
    pub(crate) fn batch(&self, url: &str) -> Batch {
        self.batch_with(url, ":", &[])
    }

    /// As [`Stage::batch`]; each task runs `more` before, and the coordinator has more arguments.
    pub(crate) fn batch_with(&self, url: &str, more: &str, arguments: &[&str]) -> Batch {
        let line = |n| {
            let command = format!("{more}; sleep 0.05; echo {n}");
            json!({"command_type": "bash", "lane": "query", "payload": {"command": command}})
        };
        let lines: Vec<String> = (0..TASKS).map(|n| format!("{}\n", line(n))).collect();
        let file = self.dir.path().join("tasks.jsonl");
        std::fs::write(&file, lines.concat()).expect("the tasks are written");
        let seconds = format!("{}s", BOUND.as_secs());
        let coordinator = self.process("a3s-coordinator", url);
        let coordinator = coordinator.args(["batch", "--timeout", &seconds]);
        let coordinator = coordinator.args(arguments).arg(file);
        Batch(coordinator.start())
    }
}

/// A coordinator at work.
pub(crate) struct Batch(pub(crate) Process);

impl Batch {
    /// Waits until this many tasks have their result.
    pub(crate) async fn until(&self, count: usize) {
        eventually(&format!("{count} results"), BOUND, || {
            let done = self.0.stdout().lines().count();
            std::future::ready(
                (done >= count)
                    .then_some(())
                    .ok_or(format!("{done} results")),
            )
        })
        .await;
    }

    /// Waits for the end: every task has one result, and it is a success.
    pub(crate) async fn is_done(&mut self) {
        let status = self.0.wait(BOUND).await;
        let stdout = self.0.stdout();
        let mut answered = BTreeSet::new();
        for line in stdout.lines() {
            let answer: Value = serde_json::from_str(line).expect("a line of JSON");
            let index = answer["index"].as_u64().expect("an index");
            assert_eq!(answer["success"], true, "{line}");
            let output = answer["result"]["stdout"].as_str().expect("an output");
            assert!(output.ends_with(&format!("{index}\n")), "{line}");
            assert!(answered.insert(index), "a second result: {line}");
        }
        assert_eq!(answered.len(), TASKS, "{status}");
        assert!(status.success(), "{status}");
    }
}
