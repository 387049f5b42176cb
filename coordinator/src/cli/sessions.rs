//! `session`: who asks for work, and whether it is started.

use std::collections::BTreeMap;

use a3s_shared::broker::Broker;
use a3s_shared::protocol::{SessionLane, SessionRecord, SessionState, clock};
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::app::{App, Globals};
use super::failure::{DONE, Failure};
use super::listing::{listing, place};
use super::moment::ago;
use super::output::Output;
use super::{lanes, tasks};
use crate::inspect::backlog::{Backlog, backlog};
use crate::inspect::{cancel, records};

/// List sessions, look at one, pause, resume, end or cancel it
///
/// A session is whoever submits tasks under one id, from one process or many. Its record at the
/// broker says where its tasks go and whether they are started; every process of it follows.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator session ls
  a3s-coordinator session pause nightly
  a3s-coordinator session cancel nightly --json | jq -r .outcome")]
pub(crate) struct Sessions {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the sessions, with how many tasks the broker has of each
    Ls(All),
    /// Show where a session's tasks go, who serves them, and how many there are
    Show(One),
    /// Take no more tasks: what waits does not start, what runs has five seconds and is cancelled
    ///
    /// Does it in every process of the session. Tasks of a session without a living process stay
    /// at the broker: see `session cancel`.
    End(One),
    /// Start no more tasks until `session resume`; what has started goes on
    Pause(One),
    /// Start tasks again
    Resume(One),
    /// Cancel all tasks of a session that were submitted until now
    ///
    /// Those that are queued or running, and those that still wait in the process that submitted
    /// them. What is submitted later is not touched.
    Cancel(One),
}

#[derive(Debug, Args)]
struct All {
    /// One JSON object a line
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
struct One {
    /// The session
    #[arg(value_name = "ID")]
    id: String,
    /// JSON instead of text
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Sessions {
    /// Does it.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| match &self.action {
            Action::Ls(all) => list(app, all.json).await,
            Action::Show(one) => show(app, one).await,
            Action::End(one) => set_state(app, one, SessionState::Closed).await,
            Action::Pause(one) => set_state(app, one, SessionState::Paused).await,
            Action::Resume(one) => set_state(app, one, SessionState::Open).await,
            Action::Cancel(one) => cancel_all(app, one).await,
        })
        .await
    }
}

/// Why nothing is known of a session.
pub(crate) fn absent(session: &str) -> Failure {
    Failure::usage(format!(
        "there is no session {session:?}; those that there are: a3s-coordinator session ls"
    ))
}

async fn list(app: &App, json: bool) -> Result<u8, Failure> {
    let broker = app.coordinator.broker();
    let records = broker.sessions().await.map_err(Failure::broker)?;
    let backlog = backlog(broker, None).await.map_err(Failure::broker)?;
    // A task may be published by hand, in a session that nobody ever opened.
    let mut sessions: BTreeMap<&str, Option<&SessionRecord>> = backlog
        .iter()
        .map(|row| (row.session.as_str(), None))
        .collect();
    sessions.extend(records.iter().map(|r| (r.session_id.as_str(), Some(r))));
    let mut output = Output::new();
    if json {
        for (id, record) in &sessions {
            output.json(&as_json(id, *record, &backlog)).await?;
        }
    } else if sessions.is_empty() {
        eprintln!("there is no session; submit a task: a3s-coordinator submit --help");
    } else {
        let now = clock::now_ms();
        let rows = sessions.iter().map(|(id, record)| {
            let (queued, running) = totals(id, &backlog);
            [
                (*id).to_owned(),
                record.map_or_else(|| "-".to_owned(), |r| place(&r.route)),
                record.map_or("-", |r| word(r.state)).to_owned(),
                queued.to_string(),
                running.to_string(),
                record.map_or_else(|| "-".to_owned(), |r| ago(r.created_at_ms, now)),
            ]
        });
        let header = ["id", "goes to", "state", "queued", "running", "since"];
        output.line(&listing(header, rows)).await?;
    }
    Ok(DONE)
}

async fn show(app: &App, one: &One) -> Result<u8, Failure> {
    let broker = app.coordinator.broker();
    let found = broker.session(&one.id).await.map_err(Failure::broker)?;
    let record = found.map(|(record, _)| record);
    let backlog = backlog(broker, Some(&one.id))
        .await
        .map_err(Failure::broker)?;
    if record.is_none() && backlog.is_empty() {
        return Err(absent(&one.id));
    }
    let letters = broker.dead_letters(Some(&one.id)).await;
    let letters = letters.map_err(Failure::broker)?.len();
    let mut output = Output::new();
    if one.json {
        let mut shown = as_json(&one.id, record.as_ref(), &backlog);
        shown["dead_letters"] = json!(letters);
        output.json(&shown).await?;
        return Ok(DONE);
    }
    let text = match &record {
        Some(record) => format!(
            "session {} goes to {}, is {}, and is {} old; {letters} dead letters",
            record.session_id,
            place(&record.route),
            word(record.state),
            ago(record.created_at_ms, clock::now_ms()).trim_end_matches(" ago"),
        ),
        None => format!(
            "session {} was never opened; {letters} dead letters",
            one.id
        ),
    };
    output.line(&text).await?;
    let workers = app.coordinator.fleet().workers();
    let lanes = lanes::of_session(&one.id, record.as_ref(), &backlog, &workers);
    output.line(&lanes::table(&lanes)).await?;
    Ok(DONE)
}

async fn set_state(app: &App, one: &One, state: SessionState) -> Result<u8, Failure> {
    let broker = app.coordinator.broker();
    let written = records::edit(broker, &one.id, |record| record.state = state).await;
    let record = written
        .map_err(Failure::broker)?
        .ok_or_else(|| absent(&one.id))?;
    let mut output = Output::new();
    if one.json {
        output.json(&json!(record)).await?;
    } else {
        let text = format!("session {} is {}", one.id, word(state));
        output.line(&text).await?;
        if state == SessionState::Closed {
            say_what_stays(broker, &one.id).await?;
        }
    }
    Ok(DONE)
}

/// A session whose process is gone cannot settle its tasks.
async fn say_what_stays(broker: &Broker, session: &str) -> Result<(), Failure> {
    let left = backlog(broker, Some(session)).await;
    let (queued, running) = totals(session, &left.map_err(Failure::broker)?);
    if queued + running > 0 {
        eprintln!(
            "{queued} tasks are queued and {running} run; a living process of the session ends \
             them, and so does: a3s-coordinator session cancel {session}"
        );
    }
    Ok(())
}

async fn cancel_all(app: &App, one: &One) -> Result<u8, Failure> {
    let broker = app.coordinator.broker();
    let tasks = crate::inspect::tasks::list(broker, Some(&one.id), usize::MAX).await;
    let tasks = tasks.map_err(Failure::broker)?;
    let known = broker.session(&one.id).await.map_err(Failure::broker)?;
    if tasks.is_empty() && known.is_none() {
        return Err(absent(&one.id));
    }
    // First what waits in its caller's process: else it would take the places that are freed.
    let mark = |record: &mut SessionRecord| record.cancelled_before_ms = clock::now_ms();
    records::edit(broker, &one.id, mark)
        .await
        .map_err(Failure::broker)?;
    let ended = cancel::cancel(broker, &one.id, tasks, "cancelled with its session")
        .await
        .map_err(Failure::broker)?;
    let mut output = Output::new();
    if !one.json && ended.is_empty() {
        eprintln!("session {} has no task at the broker", one.id);
    }
    for result in &ended {
        tasks::print_ended(&mut output, result, one.json).await?;
    }
    Ok(DONE)
}

fn as_json(id: &str, record: Option<&SessionRecord>, backlog: &[Backlog]) -> Value {
    let mut shown = record.map_or_else(|| json!({ "session_id": id }), |record| json!(record));
    let (queued, running) = totals(id, backlog);
    shown["queued"] = json!(queued);
    shown["running"] = json!(running);
    let by_lane = |lane: SessionLane| {
        let row = backlog.iter().find(|r| r.session == id && r.lane == lane)?;
        Some((
            lane.id(),
            json!({ "queued": row.queued, "running": row.running }),
        ))
    };
    shown["tasks"] = SessionLane::ALL.into_iter().filter_map(by_lane).collect();
    shown
}

fn totals(session: &str, backlog: &[Backlog]) -> (u64, u64) {
    let of_session = backlog.iter().filter(|row| row.session == session);
    of_session.fold((0, 0), |(queued, running), row| {
        (queued + row.queued, running + row.running)
    })
}

fn word(state: SessionState) -> &'static str {
    match state {
        SessionState::Open => "open",
        SessionState::Paused => "paused",
        SessionState::Closed => "closed",
    }
}
