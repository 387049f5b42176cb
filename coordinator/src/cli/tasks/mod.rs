//! `task`: single tasks, those that the broker has and those that ended within a day. [`shown`] is
//! how they look.

mod shown;

use std::time::Duration;

use a3s_shared::protocol::{CancelMarker, EventKind, Outcome, clock};
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::time::timeout;

use crate::cli::app::{App, Globals};
use crate::cli::failure::{self, DONE, FAILED, Failure};
use crate::cli::output::Output;
use crate::inspect::cancel::cancel;
use crate::inspect::tasks::{self, Found};
use shown::{describe, ended_json, found_json, listed_json, sentence, table};

pub(crate) use shown::print_ended;

/// How long a caller's process has to tell that it has cancelled a task.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// List tasks, look at one, cancel it, or get its result
///
/// Knows the tasks that the broker has accepted: queued, running, or with a result, which is kept
/// for a day. A task that still waits in the process that submitted it is known to nobody else;
/// with --session it can be cancelled all the same.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator task ls --session nightly
  a3s-coordinator task cancel 0199c0ffee
  a3s-coordinator task result 0199c0ffee --json | jq .result")]
pub(crate) struct Tasks {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the tasks that are queued or running, oldest first
    Ls(Ls),
    /// Show all that is known of a task: its message, attempts, claim, result, dead letter
    Show(One),
    /// Cancel a task: what is queued never starts, what runs is stopped
    ///
    /// Durable: a worker that is away obeys when it returns. Waits about two seconds for the
    /// worker, and answers for it when it says nothing. Exit status 0: it is cancelled; 1: it had
    /// ended otherwise, which is said.
    Cancel(One),
    /// Print the result of a task, as `submit` does
    ///
    /// Exit status as of `submit`; 1 when there is no result.
    Result(One),
}

#[derive(Debug, Args)]
struct Ls {
    /// Those of this session
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// Those that ended within a day too
    #[arg(long, env = "A3S_ENDED", value_parser = BoolishValueParser::new())]
    ended: bool,
    /// List at most so many that have not ended, and so many that have
    #[arg(long, value_name = "N", env = "A3S_LIMIT", default_value_t = 1_000)]
    limit: usize,
    /// One JSON object a line
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
struct One {
    /// The task
    id: String,
    /// Its session, where more than one has a task of this id
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// JSON instead of text
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Tasks {
    /// Does it.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| match &self.action {
            Action::Ls(ls) => ls.run(app).await,
            Action::Show(one) => one.show(app).await,
            Action::Cancel(one) => one.cancel(app).await,
            Action::Result(one) => one.result(app).await,
        })
        .await
    }
}

impl Ls {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        let (broker, session) = (app.coordinator.broker(), self.session.as_deref());
        // One more than is shown tells whether there are more.
        let more = self.limit.saturating_add(1);
        let mut listed = tasks::list(broker, session, more)
            .await
            .map_err(Failure::broker)?;
        let mut ended = match self.ended {
            true => tasks::ended(broker, session, more)
                .await
                .map_err(Failure::broker)?,
            false => Vec::new(),
        };
        let left_out = listed.len().max(ended.len()) > self.limit;
        listed.truncate(self.limit);
        ended.truncate(self.limit);
        let mut output = Output::new();
        if self.json {
            for result in &ended {
                output.json(&ended_json(result)).await?;
            }
            for task in &listed {
                output.json(&listed_json(task)).await?;
            }
        } else if listed.is_empty() && ended.is_empty() {
            eprintln!("no task is queued or running");
        } else {
            output.line(&table(&listed, &ended)).await?;
        }
        if left_out {
            eprintln!("there are more: use --limit, or --session");
        }
        Ok(DONE)
    }
}

impl One {
    /// The one task that is meant.
    async fn find(&self, app: &App) -> Result<Found, Failure> {
        let found = tasks::find(app.coordinator.broker(), self.session.as_deref(), &self.id);
        let mut found = found.await.map_err(Failure::broker)?;
        if found.len() > 1 {
            let sessions: Vec<&str> = found.iter().map(|f| f.session.as_str()).collect();
            let (id, sessions) = (&self.id, sessions.join(", "));
            return Err(Failure::usage(format!(
                "task {id:?} is in more than one session: say --session with one of {sessions}"
            )));
        }
        found.pop().ok_or_else(|| self.absent())
    }

    fn absent(&self) -> Failure {
        let id = &self.id;
        Failure::usage(format!(
            "the broker has no task {id:?} and no result of it (they are kept for a day); \
             those that it has: a3s-coordinator task ls"
        ))
    }

    async fn show(&self, app: &App) -> Result<u8, Failure> {
        let found = self.find(app).await?;
        let shown = found_json(&self.id, &found);
        let mut output = Output::new();
        if self.json {
            output.json(&shown).await?;
        } else {
            output.line(&describe(&self.id, &found)).await?;
            let payload = found.listed.as_ref().and_then(|task| task.body.as_ref());
            if let Some(body) = payload {
                output.line(&format!("payload: {}", body.payload)).await?;
            }
            for note in &found.record.attempts {
                let text = format!(
                    "attempt {} on {}: {}",
                    note.attempt, note.worker_id, note.error
                );
                output.line(&text).await?;
            }
        }
        Ok(DONE)
    }

    /// A task that is not at the broker may still wait in its caller's process, which follows
    /// the markers and tells the end.
    async fn cancel_waiting(&self, app: &App, session: &str) -> Result<u8, Failure> {
        let broker = app.coordinator.broker();
        let events = broker.subscribe_events(Some(session)).await;
        let mut events = events.map_err(Failure::broker)?;
        let (reason, at_ms) = ("cancelled by hand".to_owned(), clock::now_ms());
        let marker = CancelMarker { reason, at_ms };
        let marked = broker.cancel(session, &self.id, &marker, at_ms).await;
        marked.map_err(Failure::broker)?;
        let ended = async {
            while let Some(event) = events.next().await {
                let ours = event.task_id.as_deref() == Some(self.id.as_str());
                if ours && event.kind == EventKind::Failed {
                    return true;
                }
            }
            false
        };
        if timeout(HEARD_WITHIN, ended).await != Ok(true) {
            return Err(self.absent());
        }
        let text = format!("task {}: cancelled before it was published", self.id);
        let shown = json!({ "task_id": self.id, "session_id": session, "outcome": "cancelled" });
        let mut output = Output::new();
        match self.json {
            true => output.json(&shown).await?,
            false => output.line(&text).await?,
        }
        Ok(DONE)
    }

    async fn cancel(&self, app: &App) -> Result<u8, Failure> {
        let found = match (self.find(app).await, &self.session) {
            (Ok(found), _) => found,
            (Err(_), Some(session)) => return self.cancel_waiting(app, session).await,
            (Err(absent), None) => return Err(absent),
        };
        let result = match (found.result, found.listed) {
            (Some(result), _) => result,
            (None, Some(task)) => {
                let broker = app.coordinator.broker();
                let ended = cancel(broker, &found.session, vec![task], "cancelled by hand").await;
                let mut ended = ended.map_err(Failure::broker)?;
                ended
                    .pop()
                    .ok_or_else(|| Failure::broker(format!("task {} has no outcome", self.id)))?
            }
            (None, None) => {
                let text = "is among the dead letters, and has no result any more";
                return Err(Failure::usage(format!("task {} {text}", self.id)));
            }
        };
        print_ended(&mut Output::new(), &result, self.json).await?;
        Ok(match result.outcome() {
            Outcome::Cancelled => DONE,
            _ => FAILED,
        })
    }

    async fn result(&self, app: &App) -> Result<u8, Failure> {
        let found = self.find(app).await?;
        let Some(result) = &found.result else {
            eprintln!("{}", describe(&self.id, &found));
            return Ok(FAILED);
        };
        let mut output = Output::new();
        match result.result["output"].as_str() {
            _ if self.json => output.json(&json!(result)).await?,
            Some("") => {}
            Some(text) => output.line(text).await?,
            None => output.json(&result.result).await?,
        }
        if !result.success && !self.json {
            eprintln!("{}", sentence(result));
        }
        Ok(failure::status_of(result.outcome()))
    }
}
