//! Many tasks from the hub, and what must come of them whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use a3s_testkit::{Process, eventually};
use serde_json::{Value, json};

use crate::world::{BOUND, World};

/// A batch under way. Each task notes its start in a file that all hosts see.
pub(crate) struct Batch {
    process: Process,
    count: usize,
    starts: PathBuf,
}

/// What came of it.
pub(crate) struct Outcome {
    /// How many tasks each worker answered.
    pub(crate) by_worker: BTreeMap<String, usize>,
    /// How many starts there were beyond one a task.
    pub(crate) repeated: usize,
}

impl Outcome {
    /// How many tasks workers whose name begins like this answered.
    pub(crate) fn of(&self, prefix: &str) -> usize {
        let theirs = self
            .by_worker
            .iter()
            .filter(|(id, _)| id.starts_with(prefix));
        theirs.map(|(_, count)| count).sum()
    }
}

impl Batch {
    /// `count` tasks for `pool`, each of which takes `seconds`; `arguments` are the coordinator's.
    pub(crate) fn start(
        world: &World,
        pool: &str,
        count: usize,
        seconds: f32,
        arguments: &[&str],
    ) -> Self {
        let starts = world.file("starts", "");
        let line = |n| {
            let note = format!("echo {n} >> {}", starts.display());
            let command = format!("{note}; sleep {seconds}; echo {n}");
            json!({"command_type": "bash", "lane": "query", "payload": {"command": command}})
        };
        let lines: Vec<String> = (0..count).map(|n| format!("{}\n", line(n))).collect();
        let file = world.file("tasks.jsonl", &lines.concat());
        let file = file.display().to_string();
        let timeout = format!("{}s", BOUND.as_secs());
        let fixed = ["batch", "--timeout", &timeout, "--pool", pool, &file];
        let process = world.hub.coordinator(&[&fixed[..], arguments].concat());
        Self {
            process,
            count,
            starts,
        }
    }

    fn done(&self) -> usize {
        self.process.stdout().lines().count()
    }

    /// How often a task was started so far.
    pub(crate) fn starts(&self) -> usize {
        starts(&self.starts).values().sum()
    }

    /// Waits until this many tasks have their result.
    pub(crate) async fn until(&self, count: usize) {
        eventually(&format!("{count} results"), BOUND, || {
            let done = self.done();
            let enough = (done >= count).then_some(());
            std::future::ready(enough.ok_or(format!("{done} results")))
        })
        .await;
    }

    /// Waits for the end: every task has one result, a success, and was started at least once.
    pub(crate) async fn end(mut self) -> Outcome {
        let status = self.process.wait(BOUND).await;
        let mut answered = BTreeSet::new();
        let mut by_worker = BTreeMap::new();
        for line in self.process.stdout().lines() {
            let answer: Value = serde_json::from_str(line).expect("a line of JSON");
            let index = answer["index"].as_u64().expect("an index");
            assert_eq!(answer["success"], true, "{line}");
            let printed = answer["result"]["stdout"].as_str();
            assert_eq!(printed, Some(&*format!("{index}\n")), "{line}");
            assert!(answered.insert(index), "a second result: {line}");
            let worker = answer["worker_id"].as_str().expect("a worker").to_owned();
            *by_worker.entry(worker).or_insert(0) += 1;
        }
        assert_eq!(answered.len(), self.count, "{}", self.process.stderr());
        assert!(status.success(), "{status}");
        let starts = starts(&self.starts);
        assert_eq!(starts.len(), self.count, "tasks that were started");
        let repeated = starts.values().sum::<usize>() - self.count;
        Outcome {
            by_worker,
            repeated,
        }
    }
}

/// How often each task was started.
fn starts(file: &Path) -> BTreeMap<String, usize> {
    let mut starts = BTreeMap::new();
    let text = std::fs::read_to_string(file).expect("the starts can be read");
    for line in text.lines() {
        *starts.entry(line.to_owned()).or_insert(0) += 1;
    }
    starts
}
