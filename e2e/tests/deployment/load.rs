//! A worker and a batch of tasks on the cluster, and what must come of each.

use std::collections::BTreeSet;

use a3s_testkit::{Process, ProcessBuilder, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::BOUND;
use crate::nodes::{Nodes, PASSWORD, USER};

/// How many tasks the batch has.
pub(crate) const TASKS: usize = 400;

/// The worker and the coordinator at work.
pub(crate) struct Load {
    batch: Process,
    _worker: Process,
    _dir: TempDir,
}

impl Load {
    /// Starts both; the worker is ready when this returns.
    pub(crate) async fn start(nodes: &Nodes) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let worker = process("a3s-worker", nodes).args(["-j", "4", "--workspace"]);
        let worker = worker.arg(dir.path()).start();
        worker.wait_for("ready for tasks", BOUND).await;

        let tasks: Vec<String> = (0..TASKS).map(|n| format!("{}\n", task(n))).collect();
        let file = dir.path().join("tasks.jsonl");
        std::fs::write(&file, tasks.concat()).expect("the tasks are written");
        let batch = process("a3s-coordinator", nodes).args(["batch", "--timeout", "4m"]);
        Self {
            batch: batch.arg(file).start(),
            _worker: worker,
            _dir: dir,
        }
    }

    /// Waits until `more` results are here beyond those of now.
    pub(crate) async fn goes_on(&self, more: usize) {
        let wanted = self.results() + more;
        assert!(wanted < TASKS, "the batch is too small for what is done");
        eventually(&format!("{wanted} results"), BOUND, async || {
            let results = self.results();
            let enough = (results >= wanted).then_some(());
            enough.ok_or_else(|| format!("{results} results"))
        })
        .await;
    }

    /// Waits for the end: every task has one result, and it is a success.
    pub(crate) async fn is_done(&mut self) {
        let status = self.batch.wait(BOUND).await;
        let mut answered = BTreeSet::new();
        for line in self.batch.stdout().lines() {
            let answer: Value = serde_json::from_str(line).expect("a line of JSON");
            assert_eq!(answer["outcome"], "completed", "{line}");
            let index = answer["index"].as_u64().expect("an index");
            assert_eq!(answer["result"]["stdout"], format!("{index}\n"), "{line}");
            assert!(answered.insert(index), "a second result: {line}");
        }
        assert_eq!(answered.len(), TASKS, "{status}: {}", self.batch.stderr());
        assert!(status.success(), "{status}");
    }

    fn results(&self) -> usize {
        self.batch.stdout().lines().count()
    }
}

/// Prints its number, and may be repeated: its worker may lose its lease with a server.
fn task(n: usize) -> Value {
    let payload = json!({ "command": format!("sleep 0.05; echo {n}") });
    json!({"command_type": "bash", "lane": "query", "payload": payload})
}

fn process(name: &str, nodes: &Nodes) -> ProcessBuilder {
    Process::of(name)
        .env("NATS_URL", nodes.url())
        .env("NATS_USER", USER)
        .env("NATS_PASSWORD", PASSWORD)
        .env("A3S_REPLICAS", "3")
        // Short, so that what was lost with a server is soon somebody else's.
        .env("A3S_ACK_WAIT", "3")
}
