//! A worker that something happens to: a process of its own, made of the worker's library, which
//! says when it has come to a step and then waits for a word on its standard input.

use std::fs::OpenOptions;
use std::io::{Write, stdin};
use std::path::Path;
use std::time::Duration;

use a3s_shared::broker::Settings;
use a3s_shared::protocol::{ExternalTask, Serves};
use a3s_shared::runtime::{ConnectOptions, Role, Shutdown, connect};
use a3s_testkit::{Process, ProcessBuilder};
use a3s_worker::config::WorkerConfig;
use a3s_worker::context::ToolContext;
use a3s_worker::registry::Registry;
use a3s_worker::steps::{Step, Steps};
use a3s_worker::tool::{Tool, Verdict};
use a3s_worker::worker::Worker;
use serde_json::json;

/// The lease of these workers: short, so that the table is done in a minute, and long enough that
/// a busy machine does not lose one that nobody took.
pub(crate) const LEASE: Duration = Duration::from_secs(3);

/// What the tool is called, which leaves a mark of each run.
pub(crate) const MARK: &str = "mark";

/// The word that kills the victim where it stands; any other lets it go on.
pub(crate) const ABORT: &str = "abort";

const URL: &str = "VICTIM_URL";
const POOL: &str = "VICTIM_POOL";
const ID: &str = "VICTIM_ID";
const STEP: &str = "VICTIM_STEP";
const DIR: &str = "VICTIM_DIR";

/// A worker process that serves `pool` by `url`, with the tool [`MARK`].
pub(crate) fn worker(url: &str, pool: &str, id: &str, dir: &Path) -> ProcessBuilder {
    let test = std::env::current_exe().expect("a test knows its path");
    Process::at(test)
        .args(["--exact", "victim::victim", "--ignored", "--nocapture"])
        .env(URL, url)
        .env(POOL, pool)
        .env(ID, id)
        .env(DIR, dir)
}

/// As [`worker`]; it stops at `step` of its first task.
pub(crate) fn worker_halted_at(
    step: Step,
    url: &str,
    pool: &str,
    id: &str,
    dir: &Path,
) -> ProcessBuilder {
    worker(url, pool, id, dir).env(STEP, format!("{step:?}"))
}

/// Not a test: the process that the rows of the table start.
#[tokio::test]
#[ignore = "run by the table, as a process of its own"]
async fn victim() {
    let Ok(url) = std::env::var(URL) else {
        return;
    };
    let given = |name: &str| std::env::var(name).unwrap_or_default();
    let shutdown = Shutdown::listen().expect("signals are heard");
    let options = ConnectOptions::to(&url);
    let connection = connect(&options, &Role::worker(given(ID))).await;
    let connection = connection.unwrap_or_else(|error| panic!("{error}"));
    let config = WorkerConfig {
        worker_id: given(ID),
        serves: Serves::Pool(given(POOL)),
        concurrency: 1,
        workspace: given(DIR).into(),
        settings: Settings {
            ack_wait: LEASE,
            ..Settings::default()
        },
        steps: halt_at(given(STEP)),
        ..WorkerConfig::default()
    };
    let mut registry = Registry::new();
    registry.add(Mark { id: given(ID) });
    let worker = Worker::start(&connection, config, registry).await;
    let worker = worker.unwrap_or_else(|error| panic!("{error}"));
    println!("ready for tasks");
    worker.run(shutdown).await;
    connection.close().await;
}

/// Says that it has come to the step, and does nothing more until it is told.
fn halt_at(wanted: String) -> Steps {
    Steps::told_to(move |step, _| {
        if format!("{step:?}") != wanted {
            return;
        }
        println!("halted at {wanted}");
        let mut word = String::new();
        stdin().read_line(&mut word).expect("a word on stdin");
        if word.trim() == ABORT {
            std::process::abort();
        }
    })
}

/// Leaves a mark that survives everything, takes a moment, and succeeds.
struct Mark {
    id: String,
}

#[async_trait::async_trait]
impl Tool for Mark {
    fn name(&self) -> &str {
        MARK
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let path = context.workspace().root().join(&task.task_id);
        let marks = OpenOptions::new().create(true).append(true).open(path);
        let mut marks = marks.expect("a file in the workspace");
        writeln!(marks, "{}", self.id).expect("a mark");
        marks.sync_all().expect("a mark on the disk");
        tokio::time::sleep(Duration::from_millis(100)).await;
        Verdict::success(json!({ "output": self.id }))
    }
}
