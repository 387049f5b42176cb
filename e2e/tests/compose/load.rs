//! A batch that goes on for as long as something is done to those who run it, and what must be
//! true of every one of its tasks in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::pin::pin;
use std::process::ChildStdin;
use std::time::Duration;

use a3s_testkit::{Process, eventually};
use serde_json::{Value, json};

use crate::stack::{BOUND, Stack};

/// The fewest tasks of a batch.
const FEWEST: usize = 300;

/// How many tasks are handed to the coordinator before their results are here: more than all
/// workers have slots for, so that none is ever idle, and few enough to be held by the pipe.
const AHEAD: usize = 40;

/// How often the load is topped up.
const EVERY: Duration = Duration::from_millis(20);

/// A coordinator at work on a batch, in the container of compose's coordinator.
pub(crate) struct Load {
    batch: Process,
    input: ChildStdin,
    sent: usize,
}

impl Load {
    /// Starts it; nothing is submitted yet.
    pub(crate) fn start(stack: &Stack) -> Self {
        let container = stack.container("coordinator");
        let batch = Process::at("docker").args(["exec", "--interactive", &container]);
        let batch = batch.args(["a3s-coordinator", "batch", "--timeout", "4m", "-"]);
        let mut batch = batch.start();
        let input = batch.stdin().expect("its input is open");
        Self {
            batch,
            input,
            sent: 0,
        }
    }

    /// Keeps the workers busy until `work` is done.
    pub(crate) async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            self.top_up(usize::MAX);
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Keeps the workers busy until `more` results are here beyond those of now.
    pub(crate) async fn goes_on(&mut self, more: usize) {
        let wanted = self.results() + more;
        let what = format!("{wanted} results");
        eventually(&what, BOUND, || {
            self.top_up(usize::MAX);
            let results = self.results();
            let enough = (results >= wanted).then_some(());
            std::future::ready(enough.ok_or(format!("{results} of {} tasks", self.sent)))
        })
        .await;
    }

    /// Ends the batch, and looks at every task: one result, a success of the first attempt, and
    /// what runs only once has run once.
    pub(crate) async fn ends_well(mut self, stack: &Stack) {
        while self.sent < FEWEST {
            self.top_up(FEWEST);
            tokio::time::sleep(EVERY).await;
        }
        let Self {
            mut batch,
            input,
            sent,
        } = self;
        drop(input);
        let status = batch.wait(BOUND).await;
        let mut answered = BTreeSet::new();
        for line in batch.stdout().lines() {
            let answer: Value = serde_json::from_str(line).expect("a line of JSON");
            let index = answer["index"].as_u64().expect("an index");
            assert_eq!(answer["outcome"], "completed", "{line}");
            assert_eq!(answer["attempt"], 1, "an attempt was spent: {line}");
            assert!(answered.insert(index), "a second result: {line}");
        }
        assert_eq!(answered.len(), sent, "{status}: {}", batch.stderr());
        assert!(status.success(), "{status}");
        ran_once(&stack.written("runs"), sent);
    }

    fn results(&self) -> usize {
        self.batch.stdout().lines().count()
    }

    /// Hands over tasks, as long as few are under way and fewer than `most` were handed over.
    fn top_up(&mut self, most: usize) {
        let until = most.min(self.results() + AHEAD);
        for n in self.sent..until {
            writeln!(self.input, "{}", task(n)).expect("the coordinator reads");
        }
        self.sent = self.sent.max(until);
    }
}

/// Of three tasks one does nothing, one may be repeated, and one may not. The last two leave a
/// line whenever they run.
fn task(n: usize) -> Value {
    let command = format!("echo {n} >>runs; sleep 0.05");
    let payload = json!({ "command": command });
    match n % 3 {
        0 => json!({"command_type": "noop", "lane": "query", "payload": {}}),
        1 => json!({"command_type": "bash", "lane": "query", "payload": payload}),
        _ => json!({"command_type": "bash", "lane": "execute", "payload": payload}),
    }
}

/// Each of `sent` tasks that leaves a line has left one.
#[track_caller]
fn ran_once(runs: &str, sent: usize) {
    let mut times = BTreeMap::new();
    for line in runs.lines() {
        let n: usize = line.parse().expect("a task's number");
        *times.entry(n).or_insert(0) += 1;
    }
    let wanted: BTreeMap<usize, i32> = (0..sent).filter(|n| n % 3 != 0).map(|n| (n, 1)).collect();
    assert_eq!(times, wanted, "a task ran twice, or not at all");
}
