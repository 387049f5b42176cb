//! `submit`: one task, and what its tool answers.

use std::time::Duration;

use a3s_coordinator::Task;
use a3s_shared::protocol::{Effect, SessionLane, TaskResult};
use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::app::{App, Globals};
use super::failure::{self, Failure};
use super::session::SessionOptions;
use super::task::{self, NoResult};
use super::{duration, output::Output, payload};

/// Run one task and print what its tool answers
///
/// Prints the `output` of the tool's result, or the result as JSON when it has none. Ctrl-C
/// cancels the task. Exit status: 0 done, 1 the task failed, 2 usage, 3 broker, 4 timed out,
/// 5 given up (a copy is in the dead letters) or of unknown outcome.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator submit read '{\"path\":\"README.md\",\"limit\":10}'
  a3s-coordinator submit bash '{\"command\":\"make test\"}' --timeout 10m
  a3s-coordinator submit my_tool @payload.json --json")]
pub(crate) struct Submit {
    /// What to do: the name of a tool
    #[arg(value_name = "TYPE")]
    command_type: String,

    /// The tool's input: JSON, @FILE, or - for standard input
    payload: String,

    /// Lane to submit to [default: the tool's: query for read, grep and their like, else execute]
    #[arg(long, value_name = "LANE", env = "A3S_LANE")]
    lane: Option<SessionLane>,

    /// Time from submit to result
    #[arg(long, value_name = "TIME", env = "A3S_TIMEOUT", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,

    /// Id of the task, unique in its session [default: a new one]
    #[arg(long, value_name = "ID", env = "A3S_TASK_ID")]
    id: Option<String>,

    /// Whether a worker may start it again after a crash: idempotent or once [default: the lane's]
    #[arg(long, value_name = "EFFECT", env = "A3S_EFFECT")]
    effect: Option<Effect>,

    /// Print the whole result as JSON
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,

    #[command(flatten)]
    session: SessionOptions,
}

impl Submit {
    /// Runs the task.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let payload = payload::read(&self.payload)?;
        let target = self.session.target();
        App::run(globals, &target.serves(), async |app| {
            let lane = self
                .lane
                .unwrap_or_else(|| SessionLane::from_tool_name(&self.command_type));
            let opened = target.clone().open(&app.coordinator, None).await?;
            opened.watch_lane(lane)?;
            let cancel = CancellationToken::new();
            let work = task::run(&opened.session, lane, self.task(payload), &cancel);
            let mut work = std::pin::pin!(work);
            let result = tokio::select! {
                result = &mut work => result,
                () = app.shutdown.draining() => {
                    cancel.cancel();
                    work.await
                }
            };
            let status = self.print(result).await?;
            Ok(if cancel.is_cancelled() {
                failure::INTERRUPTED
            } else {
                status
            })
        })
        .await
    }

    fn task(&self, payload: Value) -> Task {
        let timeout = duration::milliseconds(self.timeout);
        let mut task = Task::new(&self.command_type, payload).timeout_ms(timeout);
        if let Some(id) = &self.id {
            task = task.id(id);
        }
        match self.effect {
            Some(effect) => task.effect(effect),
            None => task,
        }
    }

    async fn print(&self, result: Result<TaskResult, NoResult>) -> Result<u8, Failure> {
        let result = match result {
            Ok(result) => result,
            Err(NoResult::Cancelled) => return Ok(failure::FAILED),
            Err(NoResult::Refused(text)) => return Err(Failure::usage(text)),
            Err(NoResult::Broker(text)) => return Err(Failure::broker(text)),
        };
        let mut output = Output::new();
        match result.result["output"].as_str() {
            _ if self.json => output.json(&json!(result)).await?,
            Some("") => {}
            Some(text) => output.line(text).await?,
            None if is_nothing(&result.result) => {}
            None => output.json(&result.result).await?,
        }
        if !result.success && !self.json {
            eprintln!("error: {}", sentence(&result));
        }
        Ok(failure::status_of(result.outcome()))
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}

/// What became of a task that has no success, and where it can be looked at.
fn sentence(result: &TaskResult) -> String {
    let id = &result.task_id;
    let outcome = result.outcome();
    match result.error.as_deref() {
        Some(error) => format!("task {id} {outcome}: {error}"),
        None => format!("task {id} {outcome}"),
    }
}
