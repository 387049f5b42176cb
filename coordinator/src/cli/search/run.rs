//! The search itself: chunks become tasks, their outputs become one.

use std::sync::Arc;
use std::time::Instant;

use a3s_coordinator::Task;
use a3s_shared::protocol::{SessionLane, TaskResult, WorkspaceRef};
use tokio_util::sync::CancellationToken;

use crate::cli::app::App;
use crate::cli::failure::{self, Failure};
use crate::cli::order::Order;
use crate::cli::output::{Output, Progress};
use crate::cli::pump::{Flow, Pump};
use crate::cli::session::Opened;
use crate::cli::task::{self, NoResult};
use crate::search::plan::Chunk;
use crate::search::request::{Found, Mode};
use crate::search::root::Root;
use crate::search::stats::Stats;
use crate::search::view::{self, Join};

use super::files::{self, Files, Step};
use super::{ERROR, NOTHING, Plan};

/// Searches and prints.
pub(super) async fn run(app: &App, plan: Plan) -> Result<u8, Failure> {
    let opened = plan
        .target
        .clone()
        .open(&app.coordinator, plan.jobs)
        .await?;
    opened.watch_lane(SessionLane::Query)?;
    let cancel = CancellationToken::new();
    let find = async {
        let tree = plan.sync.push(app).await?.map(Arc::new);
        let files = match &tree {
            Some(tree) => files::find_synced(tree, &plan)?,
            None => files::find(&opened, &plan, &cancel).await?,
        };
        Ok::<_, Failure>((files, tree.map(|tree| WorkspaceRef::new(tree.digest))))
    };
    let (files, workspace) = tokio::select! {
        found = find => found?,
        () = app.shutdown.draining() => return Ok(failure::INTERRUPTED),
    };
    let slots = plan.jobs.unwrap_or_else(|| opened.room.slots());
    let Files { root, single, walk } = files;
    let (mut steps, walking) = files::steps(walk, slots);
    let search = Searcher {
        plan: &plan,
        root: &root,
        single,
        opened: &opened,
        cancel: &cancel,
        workspace,
    };
    let mut printer = Printer::new(&plan, &root, single);
    let pump = Pump {
        room: opened.room.clone().for_short_jobs(),
        order: Order::Input,
        cancel: &cancel,
        shutdown: &app.shutdown,
    };
    pump.run(
        futures::stream::poll_fn(move |context| steps.poll_recv(context)),
        |step| search.take(step),
        async |told: Told| {
            printer.print(told).await?;
            Ok(Flow::Go)
        },
    )
    .await?;
    walking.await.map_err(Failure::broker)?;
    printer.report();
    Ok(match cancel.is_cancelled() {
        true => failure::INTERRUPTED,
        false => printer.status(),
    })
}

/// What came of a step.
enum Told {
    Searched(Part),
    Unreadable(String),
}

/// A chunk that was searched.
struct Part {
    chunk: Chunk,
    found: Result<Found, String>,
    /// Who searched it; empty when nobody did.
    worker: String,
    milliseconds: u64,
}

struct Searcher<'a> {
    plan: &'a Plan,
    root: &'a Root,
    /// Whether the user named one file.
    single: bool,
    opened: &'a Opened,
    cancel: &'a CancellationToken,
    workspace: Option<WorkspaceRef>,
}

impl Searcher<'_> {
    async fn take(&self, step: Step) -> Told {
        match step {
            Step::Search(chunk) => Told::Searched(self.search(chunk).await),
            Step::Unreadable(error) => Told::Unreadable(error),
        }
    }

    async fn search(&self, chunk: Chunk) -> Part {
        let files = chunk.files.iter();
        let paths: Vec<String> = files.map(|file| self.root.send(&file.path)).collect();
        let payload = match paths.as_slice() {
            [path] if self.single && !self.plan.json => self.plan.query.payload_for_file(path),
            _ => self.plan.query.payload(paths),
        };
        let mut task = Task::new("grep", payload).timeout_ms(self.plan.timeout_ms);
        if let Some(workspace) = &self.workspace {
            task = task.workspace(workspace.clone());
        }
        let result = task::run(&self.opened.session, SessionLane::Query, task, self.cancel).await;
        let (worker, milliseconds) = match &result {
            Ok(result) => (result.worker_id.clone(), result.duration_ms),
            Err(_) => (String::new(), 0),
        };
        Part {
            chunk,
            found: found(result),
            worker,
            milliseconds,
        }
    }
}

fn found(result: Result<TaskResult, NoResult>) -> Result<Found, String> {
    match result {
        Ok(result) if result.success => Found::read(result.result),
        Ok(result) => {
            let outcome = result.outcome();
            Err(result.error.unwrap_or_else(|| outcome.to_string()))
        }
        Err(none) => Err(none.text().to_owned()),
    }
}

/// Prints tasks in path order, and keeps count for the exit status.
struct Printer<'a> {
    plan: &'a Plan,
    root: &'a Root,
    single: bool,
    output: Output,
    join: Join,
    progress: Progress,
    stats: Stats,
    began: Instant,
    matched: bool,
    failed: usize,
}

impl<'a> Printer<'a> {
    fn new(plan: &'a Plan, root: &'a Root, single: bool) -> Self {
        Self {
            plan,
            root,
            single,
            output: Output::new(),
            join: Join::new(plan.query.has_groups()),
            progress: Progress::new(None, "tasks", plan.json),
            stats: Stats::default(),
            began: Instant::now(),
            matched: false,
            failed: 0,
        }
    }

    async fn print(&mut self, told: Told) -> Result<(), Failure> {
        match told {
            Told::Searched(part) => self.print_part(part).await,
            Told::Unreadable(error) => {
                self.complain(&error);
                Ok(())
            }
        }
    }

    async fn print_part(&mut self, part: Part) -> Result<(), Failure> {
        let chunk = &part.chunk;
        if let Ok(found) = &part.found {
            let (worker, milliseconds) = (&part.worker, part.milliseconds);
            let bytes = found.bytes_searched.unwrap_or(chunk.bytes);
            self.stats.add(found, bytes, worker, milliseconds);
        }
        match part.found.and_then(|found| self.take(found)) {
            Ok(output) if self.plan.json => self.print_json(chunk, &output).await?,
            Ok(output) => {
                let before = self.join.before(&output);
                self.output.write(before).await?;
                self.output.write(&output).await?;
            }
            Err(error) => {
                let count = chunk.files.len();
                let first = chunk.files.first().map_or("", |file| &file.path);
                let first = self.root.show(first);
                self.complain(&format!(
                    "{count} files from {first} on were not searched: {error}"
                ));
            }
        }
        self.progress.advance(self.failed);
        Ok(())
    }

    /// Notes what a task found, and gives its output under the names that were typed.
    fn take(&mut self, found: Found) -> Result<Vec<u8>, String> {
        for error in &found.errors {
            self.complain(error);
        }
        self.matched |= found.files_matched > 0;
        let named = self.single && !self.plan.json;
        if named && self.plan.query.mode != Mode::Files {
            return found.into_output();
        }
        Ok(view::rename(found.into_output()?, self.root))
    }

    async fn print_json(&mut self, chunk: &Chunk, output: &[u8]) -> Result<(), Failure> {
        let files = chunk.files.iter();
        let paths: Vec<String> = files.map(|file| self.root.show(&file.path)).collect();
        let mut lines = String::new();
        for value in view::to_json(output, &paths, self.plan.query.mode) {
            lines.push_str(&value.to_string());
            lines.push('\n');
        }
        self.output.write(lines.as_bytes()).await
    }

    fn complain(&mut self, error: &str) {
        self.failed += 1;
        self.progress.say(&format!("error: {error}"));
    }

    fn report(&self) {
        if self.plan.stats {
            self.progress.say(&self.stats.report(self.began.elapsed()));
        }
    }

    /// As ripgrep's: an error counts more than a match.
    fn status(&self) -> u8 {
        match (self.failed, self.matched) {
            (0, true) => failure::DONE,
            (0, false) => NOTHING,
            _ => ERROR,
        }
    }
}
