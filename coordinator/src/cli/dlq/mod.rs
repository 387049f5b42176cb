//! `dlq`: what could not be done, kept whole for thirty days, to be looked at. [`change`] is what
//! is done about it.

mod change;

use std::time::Duration;

use a3s_shared::protocol::{DeadLetter, SessionLane, clock};
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::cli::app::{App, Globals};
use crate::cli::duration;
use crate::cli::failure::{DONE, Failure};
use crate::cli::listing::{listing, short};
use crate::cli::moment::ago;
use crate::cli::output::Output;
use crate::inspect::letters::Choice;
use change::{Change, Deed};

/// Look at the dead letters: list, show, replay, export, purge
///
/// A task whose attempts are used up, or that can never be done, is kept here with its whole
/// message. A replay publishes it again with a new deadline and new attempts.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator dlq ls --session nightly --type bash
  a3s-coordinator dlq replay 0199c0ffee
  a3s-coordinator dlq replay --lane query --yes
  a3s-coordinator dlq export > letters.ndjson
  a3s-coordinator dlq purge --older-than 168h --yes")]
pub(crate) struct Dlq {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List dead letters, oldest first
    Ls(Ls),
    /// Show one whole
    Show(Show),
    /// Publish tasks again: those that are named at once, those that are filtered with --yes
    Replay(Change),
    /// Print dead letters as JSON, one a line, with all that a replay needs
    Export(Filter),
    /// Remove dead letters for good
    Purge(Change),
}

#[derive(Debug, Args)]
struct Filter {
    /// Those of this session
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// Those of this lane
    #[arg(long, value_name = "LANE", env = "A3S_LANE")]
    lane: Option<SessionLane>,
    /// Those of this tool
    #[arg(long = "type", value_name = "TYPE", env = "A3S_TYPE")]
    command_type: Option<String>,
    /// Those of this task; may be repeated
    #[arg(
        long = "id",
        value_name = "ID",
        env = "A3S_TASK_ID",
        value_delimiter = ','
    )]
    ids: Vec<String>,
    /// Those that were given up at least so long ago
    #[arg(long, value_name = "TIME", env = "A3S_OLDER_THAN", value_parser = duration::parse)]
    older_than: Option<Duration>,
}

#[derive(Debug, Args)]
struct Ls {
    #[command(flatten)]
    filter: Filter,
    /// One JSON object a line
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
struct Show {
    /// The task
    id: String,
    /// Its session, where more than one has a dead letter of this id
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// The letter as JSON
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Dlq {
    /// Does it.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| match &self.action {
            Action::Ls(ls) => ls.run(app).await,
            Action::Show(show) => show.run(app).await,
            Action::Replay(change) => change.run(app, Deed::Replay).await,
            Action::Export(filter) => export(app, filter).await,
            Action::Purge(change) => change.run(app, Deed::Purge).await,
        })
        .await
    }
}

impl Filter {
    fn choice(&self) -> Choice {
        Choice {
            ids: self.ids.clone(),
            session: self.session.clone(),
            lane: self.lane,
            command_type: self.command_type.clone(),
            older_than: self.older_than,
        }
    }
}

/// The letters that are meant, oldest first.
async fn chosen(app: &App, choice: &Choice) -> Result<Vec<DeadLetter>, Failure> {
    let broker = app.coordinator.broker();
    let letters = broker.dead_letters(choice.session.as_deref()).await;
    let mut letters = letters.map_err(Failure::broker)?;
    let now = clock::now_ms();
    letters.retain(|letter| choice.includes(letter, now));
    Ok(letters)
}

fn none(choice: &Choice) -> Failure {
    let what = match choice.ids.as_slice() {
        [] => "no dead letter is like that".to_owned(),
        ids => format!("there is no dead letter of task {}", ids.join(", ")),
    };
    Failure::usage(format!(
        "{what}; those that there are: a3s-coordinator dlq ls"
    ))
}

impl Ls {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        let letters = chosen(app, &self.filter.choice()).await?;
        let mut output = Output::new();
        if self.json {
            for letter in &letters {
                output.json(&json!(letter)).await?;
            }
        } else if letters.is_empty() {
            eprintln!("no dead letters");
        } else {
            output.line(&table(&letters, clock::now_ms())).await?;
        }
        Ok(DONE)
    }
}

async fn export(app: &App, filter: &Filter) -> Result<u8, Failure> {
    let mut output = Output::new();
    for letter in chosen(app, &filter.choice()).await? {
        output.json(&json!(letter)).await?;
    }
    Ok(DONE)
}

fn table(letters: &[DeadLetter], now_ms: u64) -> String {
    let rows = letters.iter().map(|letter| {
        [
            letter.task_id.clone(),
            letter.session_id.clone(),
            letter.lane.id().to_owned(),
            letter.command_type.clone(),
            letter.attempts.to_string(),
            ago(letter.failed_at, now_ms),
            short(&letter.error),
        ]
    });
    let header = [
        "id", "session", "lane", "type", "attempts", "given up", "error",
    ];
    listing(header, rows)
}

impl Show {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        let choice = Choice {
            ids: vec![self.id.clone()],
            session: self.session.clone(),
            ..Choice::default()
        };
        let letters = chosen(app, &choice).await?;
        let [letter] = letters.as_slice() else {
            return Err(match letters.is_empty() {
                true => none(&choice),
                false => Failure::usage(format!(
                    "more than one session has a dead letter of task {}: say --session",
                    self.id
                )),
            });
        };
        let mut output = Output::new();
        match self.json {
            true => output.json(&json!(letter)).await?,
            false => output.line(&describe(letter, clock::now_ms())).await?,
        }
        Ok(DONE)
    }
}

fn describe(letter: &DeadLetter, now_ms: u64) -> String {
    let mut text = format!(
        "task {} of session {}, lane {}, type {}\ngiven up {} after {} attempts: {}\n",
        letter.task_id,
        letter.session_id,
        letter.lane.id(),
        letter.command_type,
        ago(letter.failed_at, now_ms),
        letter.attempts,
        letter.error,
    );
    for note in &letter.history {
        let worker = match note.worker_id.as_str() {
            "" => "a worker that died",
            id => id,
        };
        text.push_str(&format!(
            "attempt {} on {worker}: {}\n",
            note.attempt, note.error
        ));
    }
    text.push_str(&format!("published to {}\n", letter.subject));
    text.push_str(&format!("payload: {}", letter.payload));
    text
}
