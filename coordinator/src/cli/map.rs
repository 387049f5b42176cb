//! `map`: a shell command for each argument.

use std::io::{BufRead as _, stdin};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use a3s_coordinator::Task;
use a3s_shared::broker::Broker;
use a3s_shared::protocol::{Effect, SessionLane, TaskResult, WorkspaceRef};
use clap::Args;
use clap::builder::BoolishValueParser;
use futures::Stream;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::map::arguments::Line;
use crate::map::halt::{Halt, Next};
use crate::map::job::{Job, Report, exit_status};
use crate::map::report;
use crate::map::template::Template;
use crate::workspace::pull::Changes;
use crate::workspace::push::Pushed;

use super::app::{App, Globals};
use super::failure::{self, Failure};
use super::feed;
use super::order::Order;
use super::output::{Output, Progress};
use super::pump::{Flow, Pump};
use super::session::{Opened, SessionOptions};
use super::sync::SyncOptions;
use super::{duration, task};

/// The exit status for anything but failed jobs, as GNU parallel's.
pub(crate) const ERROR: u8 = 255;

/// What a job may wait for a free slot, beyond its own time.
const QUEUE_ALLOWANCE: Duration = Duration::from_secs(300);

/// Run a shell command for each argument, with the habits of GNU parallel
///
/// Arguments follow `:::`, or are the lines of standard input. In COMMAND, {} is the argument, {.}
/// the same without its extension, {/} its last component, {//} what comes before that, {/.} the
/// last component without extension, {#} the job's number. All are quoted for the shell; without
/// any of them the argument is appended. Jobs run in the workers' workspace. Exit status: the
/// number of jobs that failed, 101 for more than 100, 255 for other errors.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator map 'cargo test -p {}' ::: shared worker coordinator
  ls tests/*.sh | a3s-coordinator map --junit report.xml --timeout 10m bash")]
pub(crate) struct Map {
    /// COMMAND [::: ARG...]
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "COMMAND ::: ARG"
    )]
    words: Vec<String>,

    /// Print output in the order of the arguments instead of as jobs end
    #[arg(short, long, env = "A3S_KEEP_ORDER", value_parser = BoolishValueParser::new())]
    keep_order: bool,

    /// When to give up: never, soon,fail=N (finish what runs) or now,fail=N (cancel it)
    #[arg(long, value_name = "WHEN", env = "A3S_HALT", default_value = "never")]
    halt: Halt,

    /// Time each job may run; then it is killed and counts as failed
    #[arg(long, value_name = "TIME", env = "A3S_TIMEOUT", default_value = "1h", value_parser = duration::parse)]
    timeout: Duration,

    /// Run a failed job again, up to N times; also when its worker was lost, so say this only of
    /// commands that may run twice (without it a job whose worker is lost is reported as unknown)
    #[arg(long, value_name = "N", env = "A3S_RETRIES", default_value_t = 0)]
    retries: u32,

    /// Jobs at a time [default: what the workers have slots for]
    #[arg(short, long, value_name = "N", env = "A3S_JOBS")]
    jobs: Option<NonZeroUsize>,

    /// Print the commands and run nothing
    #[arg(long, env = "A3S_DRY_RUN", value_parser = BoolishValueParser::new())]
    dry_run: bool,

    /// Begin each line of output with the argument
    #[arg(long, env = "A3S_TAG", value_parser = BoolishValueParser::new())]
    tag: bool,

    /// Write a JUnit report
    #[arg(long, value_name = "FILE", env = "A3S_JUNIT")]
    junit: Option<PathBuf>,

    /// With --sync: bring files back that a job changed and that match GLOB. May be repeated
    ///
    /// They are written into the directory that was synced, as jobs end. A file that two jobs
    /// changed differently, or that was changed here meanwhile, stays as it is and is reported.
    #[arg(long, value_name = "GLOB", env = "A3S_FETCH", requires = "sync")]
    fetch: Vec<String>,

    /// Write what --fetch brings below DIR instead
    #[arg(long, value_name = "DIR", env = "A3S_FETCH_TO", requires = "fetch")]
    fetch_to: Option<PathBuf>,

    #[command(flatten)]
    sync: SyncOptions,

    #[command(flatten)]
    session: SessionOptions,
}

/// The jobs, in the order of their arguments.
type Jobs = Pin<Box<dyn Stream<Item = Result<Job, String>> + Send>>;

impl Map {
    /// Runs the jobs.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let line = Line::read(&self.words).map_err(|e| Failure::usage(e.to_string()))?;
        let total = line.arguments.as_ref().map(Vec::len);
        let jobs = jobs(&line.command, line.arguments);
        if self.dry_run {
            return print_commands(jobs).await;
        }
        let target = self.session.target();
        App::run(globals, &target.serves(), async |app| {
            let limit = self.jobs.map(NonZeroUsize::get);
            let opened = target.clone().open(&app.coordinator, limit).await?;
            opened.watch_lane(SessionLane::Execute)?;
            let mut board = Board::new(&self, total);
            let workspace = match self.sync.push(app).await? {
                Some(tree) => Some(self.workspace(app, tree, &mut board)?),
                None => None,
            };
            let place = (&opened, workspace.as_ref());
            let interrupted = self.drive(app, place, jobs, &mut board).await?;
            let status = board.finish(&line.command)?;
            Ok(if interrupted {
                failure::INTERRUPTED
            } else {
                status
            })
        })
        .await
    }

    /// How tasks name a tree that was synced; what they change in it goes to the board.
    fn workspace(
        &self,
        app: &App,
        tree: Pushed,
        board: &mut Board<'_>,
    ) -> Result<WorkspaceRef, Failure> {
        let mut workspace = WorkspaceRef::new(tree.digest);
        for glob in &self.fetch {
            let returning = workspace.returning(glob);
            workspace = returning.map_err(|e| Failure::usage(e.to_string()))?;
        }
        if !self.fetch.is_empty() {
            let to = self.fetch_to.as_deref().unwrap_or(&tree.root);
            let what = to.display().to_string();
            let changes = match &self.fetch_to {
                Some(directory) => Changes::into_directory(directory),
                None => Changes::into_tree(&tree.root, tree.manifest),
            };
            let changes = changes.map_err(|e| Failure::output(&what, &e))?;
            board.changes = Some((changes, app.coordinator.broker().clone()));
        }
        Ok(workspace)
    }

    /// Runs the jobs; true when Ctrl-C ended it.
    async fn drive(
        &self,
        app: &App,
        (opened, workspace): (&Opened, Option<&WorkspaceRef>),
        jobs: Jobs,
        board: &mut Board<'_>,
    ) -> Result<bool, Failure> {
        let cancel = CancellationToken::new();
        let pump = Pump {
            room: opened.room.clone(),
            order: match self.keep_order {
                true => Order::Input,
                false => Order::Arrival,
            },
            cancel: &cancel,
            shutdown: &app.shutdown,
        };
        let mut halted = false;
        pump.run(
            jobs,
            |job| self.run_job((opened, workspace), job, &cancel),
            async |report: Result<Report, String>| {
                let flow = board.take(report.map_err(Failure::usage)?).await?;
                halted |= flow == Flow::Cancel;
                Ok(flow)
            },
        )
        .await?;
        Ok(cancel.is_cancelled() && !halted)
    }

    async fn run_job(
        &self,
        (opened, workspace): (&Opened, Option<&WorkspaceRef>),
        job: Result<Job, String>,
        cancel: &CancellationToken,
    ) -> Result<Report, String> {
        let job = job?;
        let mut again = self.retries;
        loop {
            let task = self.task(&job, workspace);
            let result = task::run(&opened.session, SessionLane::Execute, task, cancel).await;
            let report = match result {
                Ok(result) => self.report(&job, &result),
                Err(none) => Report::broken(job.clone(), none.kind(), none.text().to_owned()),
            };
            if report.is_success() || again == 0 || cancel.is_cancelled() {
                return Ok(report);
            }
            again -= 1;
        }
    }

    fn report(&self, job: &Job, result: &TaskResult) -> Report {
        Report::from_result(job.clone(), result)
    }

    fn task(&self, job: &Job, workspace: Option<&WorkspaceRef>) -> Task {
        let attempts = self.retries.saturating_add(1);
        let total = self.timeout.saturating_mul(attempts) + QUEUE_ALLOWANCE;
        let payload = json!({
            "command": job.command,
            "timeout": duration::milliseconds(self.timeout),
        });
        let mut task = Task::new("bash", payload).timeout_ms(duration::milliseconds(total));
        if let Some(workspace) = workspace {
            task = task.workspace(workspace.clone());
        }
        match self.retries {
            0 => task,
            retries => task.effect(Effect::Idempotent).retries(retries),
        }
    }
}

/// The jobs for `arguments`, or for the lines of standard input.
fn jobs(command: &str, arguments: Option<Vec<String>>) -> Jobs {
    let template = Template::parse(command);
    let job = move |(index, argument): (usize, String)| {
        let number = index + 1;
        match template.render(&argument, number) {
            Ok(command) => Ok(Job {
                number,
                argument,
                command,
            }),
            Err(_) => Err(format!("argument {number} contains a NUL byte")),
        }
    };
    match arguments {
        Some(arguments) => {
            let jobs: Vec<_> = arguments.into_iter().enumerate().map(job).collect();
            Box::pin(futures::stream::iter(jobs))
        }
        None => Box::pin(feed::from_thread(move |jobs| {
            for (index, line) in stdin().lock().lines().enumerate() {
                let next = line
                    .map_err(|e| format!("standard input cannot be read: {e}"))
                    .and_then(|line| job((index, line)));
                let last = next.is_err();
                if !jobs.send(next) || last {
                    return;
                }
            }
        })),
    }
}

async fn print_commands(mut jobs: Jobs) -> Result<u8, Failure> {
    use futures::StreamExt as _;

    let mut output = Output::new();
    while let Some(job) = jobs.next().await {
        output.line(&job.map_err(Failure::usage)?.command).await?;
    }
    Ok(failure::DONE)
}

/// Prints what jobs print, and keeps what the summary needs.
struct Board<'a> {
    map: &'a Map,
    output: Output,
    progress: Progress,
    reports: Vec<Report>,
    total: Option<usize>,
    /// What `--halt` cancelled is not counted.
    failed: usize,
    next: Next,
    /// Where changed files go, and where they come from.
    changes: Option<(Changes, Broker)>,
    /// Changes that could not be written.
    conflicts: usize,
}

impl<'a> Board<'a> {
    fn new(map: &'a Map, total: Option<usize>) -> Self {
        Self {
            map,
            output: Output::new(),
            progress: Progress::new(total, "jobs", false),
            reports: Vec::new(),
            total,
            failed: 0,
            next: Next::Go,
            changes: None,
            conflicts: 0,
        }
    }

    async fn take(&mut self, mut report: Report) -> Result<Flow, Failure> {
        let argument = self.map.tag.then_some(report.job.argument.as_str());
        self.output
            .write(tagged(&report.stdout, argument).as_bytes())
            .await?;
        let errors = tagged(&report.stderr, argument);
        if !errors.is_empty() {
            self.progress
                .say(errors.strip_suffix('\n').unwrap_or(&errors));
        }
        self.take_changes(&report).await;
        if self.map.junit.is_none() {
            report.stdout = String::new();
            report.stderr = String::new();
        }
        let halted = self.next == Next::Cancel && report.is_cancelled();
        self.failed += usize::from(!report.is_success() && !halted);
        self.reports.push(report);
        self.progress.advance(self.failed);
        self.next = self.map.halt.after(self.failed);
        Ok(match self.next {
            Next::Go => Flow::Go,
            Next::Finish => Flow::Finish,
            Next::Cancel => Flow::Cancel,
        })
    }

    /// Writes the files that a job changed.
    async fn take_changes(&mut self, report: &Report) {
        let Some((changes, broker)) = &mut self.changes else {
            return;
        };
        if let Some(returned) = &report.changes {
            let job = format!("job {} ({})", report.job.number, report.job.argument);
            for error in changes.take(broker, &job, returned).await {
                self.conflicts += 1;
                self.progress.say(&format!("error: {error}"));
            }
        }
    }

    /// Writes the report and the table; the exit status.
    fn finish(mut self, command: &str) -> Result<u8, Failure> {
        self.reports.sort_by_key(|report| report.job.number);
        if let Some(path) = &self.map.junit {
            let what = path.display().to_string();
            let text = report::junit(command, &self.reports)
                .map_err(|e| Failure::usage(format!("cannot write {what}: {e}")))?;
            std::fs::write(path, text).map_err(|e| Failure::output(&what, &e))?;
        }
        self.progress.say(&report::table(&self.reports, self.total));
        if let Some((changes, _)) = &self.changes {
            let (written, conflicts) = (changes.written, self.conflicts);
            self.progress
                .say(&format!("{written} changed files written, {conflicts} not"));
        }
        Ok(match self.conflicts {
            0 => exit_status(self.failed),
            _ => ERROR,
        })
    }
}

/// The text with the argument and a tab before each line, as GNU parallel's `--tag`.
fn tagged(text: &str, argument: Option<&str>) -> String {
    let Some(argument) = argument else {
        return text.to_owned();
    };
    text.split_inclusive('\n')
        .map(|line| format!("{argument}\t{line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_tagged() {
        assert_eq!(tagged("a\nb", Some("x")), "x\ta\nx\tb");
        assert_eq!(tagged("a\n", None), "a\n");
        assert_eq!(tagged("", Some("x")), "");
    }
}
