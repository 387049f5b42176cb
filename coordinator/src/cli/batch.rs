//! `batch`: many tasks from lines of JSON, their results as lines of JSON.

use std::fs::File;
use std::io::{BufReader, Read};
use std::num::NonZeroUsize;
use std::time::Duration;

use a3s_coordinator::Task;
use a3s_shared::protocol::{SessionLane, Token, WorkspaceRef};
use clap::Args;
use futures::Stream;
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::batch::line::{self, Entry, Line, Parser};
use crate::batch::reader::{MAX_LINE, read_line};

use super::app::{App, Globals};
use super::duration;
use super::failure::{self, Failure};
use super::feed;
use super::order::Order;
use super::output::{Output, Progress};
use super::pump::{FirstUse, Flow, Pump};
use super::session::{Opened, SessionOptions};
use super::sync::SyncOptions;
use super::task;

/// Run many tasks, one JSON object a line
///
/// Reads {"command_type", "payload", "lane"?, "timeout_ms"?, "id"?} from each line and prints each
/// result as a line, in order of completion, with the task's `index` (from 0) and `id`. A line that
/// makes no sense is reported with its number and answered by an error; the rest runs. The whole
/// fleet is kept busy unless -j says otherwise. Exit status: 0 all done, 1 something failed, 2
/// usage, 3 broker.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  git ls-files | jq -Rc '{command_type: \"read\", payload: {path: .}}' | a3s-coordinator batch -")]
pub(crate) struct Batch {
    /// File with the tasks, or - for standard input
    file: String,

    /// Tasks at a time [default: what the workers have slots for]
    #[arg(short, long, value_name = "N", env = "A3S_JOBS")]
    jobs: Option<NonZeroUsize>,

    /// Time from submit to result, of tasks that name none
    #[arg(long, value_name = "TIME", env = "A3S_TIMEOUT", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,

    #[command(flatten)]
    sync: SyncOptions,

    #[command(flatten)]
    session: SessionOptions,
}

/// What a line became: its answer, and whether that is a success.
struct Answer {
    value: Value,
    success: bool,
}

impl Batch {
    /// Runs the tasks.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let lines = lines(open(&self.file)?);
        let target = self.session.target();
        let timeout_ms = duration::milliseconds(self.timeout);
        App::run(globals, &target.serves(), async move |app| {
            let opened = target
                .open(&app.coordinator, self.jobs.map(NonZeroUsize::get))
                .await?;
            let cancel = CancellationToken::new();
            let pump = Pump {
                room: opened.room.clone().for_short_jobs(),
                order: Order::Arrival,
                cancel: &cancel,
                shutdown: &app.shutdown,
            };
            let tree = self.sync.push(app).await?;
            let runner = Runner {
                workspace: tree.map(|tree| WorkspaceRef::new(tree.digest)),
                ..Runner::new(&opened, &cancel, timeout_ms)
            };
            let (mut output, progress) = (Output::new(), Progress::new(None, "tasks", true));
            let mut failed = 0;
            pump.run(
                lines,
                |line| runner.run(line, &progress),
                async |answer: Result<Answer, Failure>| {
                    let answer = answer?;
                    failed += usize::from(!answer.success);
                    output.json(&answer.value).await?;
                    progress.advance(failed);
                    Ok(Flow::Go)
                },
            )
            .await?;
            Ok(match (cancel.is_cancelled(), failed) {
                (true, _) => failure::INTERRUPTED,
                (false, 0) => failure::DONE,
                (false, _) => failure::FAILED,
            })
        })
        .await
    }
}

/// Runs one line after the other's submission.
struct Runner<'a> {
    opened: &'a Opened,
    cancel: &'a CancellationToken,
    timeout_ms: u64,
    workspace: Option<WorkspaceRef>,
    lanes: Mutex<FirstUse>,
}

impl<'a> Runner<'a> {
    fn new(opened: &'a Opened, cancel: &'a CancellationToken, timeout_ms: u64) -> Self {
        Self {
            opened,
            cancel,
            timeout_ms,
            workspace: None,
            lanes: Mutex::default(),
        }
    }

    async fn run(&self, line: Line, progress: &Progress) -> Result<Answer, Failure> {
        let entry = match &line.entry {
            Ok(entry) => entry.clone(),
            Err(error) => {
                progress.say(&format!("line {}: {error}", line.number));
                return Ok(refused(&line, None, "invalid_input", error));
            }
        };
        let lane = entry
            .lane
            .unwrap_or_else(|| SessionLane::from_tool_name(&entry.command_type));
        if self.lanes.lock().of(lane) {
            self.opened.watch_lane(lane)?;
        }
        let id = entry.id.clone().unwrap_or_else(|| Token::unique().into());
        let task = self.task(entry, &id);
        match task::run(&self.opened.session, lane, task, self.cancel).await {
            Ok(result) => Ok(Answer {
                value: line::answer(line.index, &result),
                success: result.success,
            }),
            Err(none) => Ok(refused(&line, Some(&id), none.kind(), none.text())),
        }
    }

    fn task(&self, entry: Entry, id: &str) -> Task {
        let task = Task::new(entry.command_type, entry.payload)
            .timeout_ms(entry.timeout_ms.unwrap_or(self.timeout_ms))
            .id(id);
        match &self.workspace {
            Some(workspace) => task.workspace(workspace.clone()),
            None => task,
        }
    }
}

fn refused(line: &Line, id: Option<&str>, kind: &str, error: &str) -> Answer {
    Answer {
        value: line::answer_error(line, id, kind, error),
        success: false,
    }
}

fn open(file: &str) -> Result<Box<dyn Read + Send>, Failure> {
    if file == "-" {
        return Ok(Box::new(std::io::stdin()));
    }
    let opened = File::open(file)
        .map_err(|e| Failure::usage(format!("cannot read {file}: {e}; name a file, or -")))?;
    Ok(Box::new(opened))
}

/// The lines of a file, read while tasks run.
fn lines(input: Box<dyn Read + Send>) -> impl Stream<Item = Line> {
    feed::from_thread(move |lines| {
        let mut input = BufReader::new(input);
        let mut parser = Parser::default();
        let mut text = Vec::new();
        loop {
            let read = match read_line(&mut input, &mut text, MAX_LINE) {
                Ok(None) => return,
                Ok(Some(read)) => read,
                Err(error) => {
                    let error = format!("the input cannot be read further: {error}");
                    let _ = parser.next(Err(error)).is_some_and(|line| lines.send(line));
                    return;
                }
            };
            let line = parser.next(read.map(|()| text.as_slice()));
            if line.is_some_and(|line| !lines.send(line)) {
                return;
            }
        }
    })
}
