//! `lane`: who handles the tasks of a session's lanes, and how full the lanes of the pools are.

use std::collections::BTreeSet;
use std::time::Duration;

use a3s_shared::broker::Broker;
use a3s_shared::protocol::{
    DEFAULT_POOL, DEFAULT_TIMEOUT_MS, LaneHandlerConfig, Presence, Route, Serves, SessionLane,
    SessionRecord, TaskHandlerMode,
};
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::app::{App, Globals};
use super::duration;
use super::failure::{DONE, Failure};
use super::listing::{listing, place};
use super::output::Output;
use super::sessions::absent;
use crate::inspect::backlog::{Backlog, backlog};
use crate::inspect::{frontier, records};

/// Look at lanes, and say who handles their tasks
///
/// The four lanes of a session are control, query, execute and generate, highest priority first.
/// Each is handled by the session's own process (internal), by it with the outside told (hybrid),
/// or by workers (external).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator lane ls
  a3s-coordinator lane ls --session nightly --json
  a3s-coordinator lane set nightly execute --mode external --timeout 10m")]
pub(crate) struct Lanes {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the lanes of all pools, or of a session
    Ls(Ls),
    /// Say who handles tasks that are submitted to a lane from now on, in every process of the
    /// session
    Set(Set),
}

#[derive(Debug, Args)]
struct Ls {
    /// The lanes of this session
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// One JSON object a line
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
struct Set {
    /// The session
    #[arg(value_name = "ID")]
    session: String,
    /// The lane: control, query, execute or generate
    lane: SessionLane,
    /// Who handles its tasks: internal, external or hybrid
    #[arg(long, value_name = "MODE", env = "A3S_LANE_MODE", value_parser = mode)]
    mode: Option<TaskHandlerMode>,
    /// Time from submit to result
    #[arg(long, value_name = "TIME", env = "A3S_LANE_TIMEOUT", value_parser = duration::parse)]
    timeout: Option<Duration>,
    /// JSON instead of text
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// A lane of a session or of a pool, at one moment.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lane {
    lane: SessionLane,
    /// Whose workers take its tasks.
    route: Route,
    /// How it is handled, when its record says so; else its process decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    handler: Option<LaneHandlerConfig>,
    queued: u64,
    running: u64,
    /// Workers that take its tasks.
    workers: usize,
    /// How many tasks they run at a time.
    slots: usize,
}

impl Lanes {
    /// Does it.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| match &self.action {
            Action::Ls(ls) => list(app, ls).await,
            Action::Set(set) => set.run(app).await,
        })
        .await
    }
}

async fn list(app: &App, ls: &Ls) -> Result<u8, Failure> {
    let broker = app.coordinator.broker();
    let workers = app.coordinator.fleet().workers();
    let backlog = backlog(broker, ls.session.as_deref())
        .await
        .map_err(Failure::broker)?;
    let lanes = match &ls.session {
        Some(session) => {
            let found = broker.session(session).await.map_err(Failure::broker)?;
            let record = found.map(|(record, _)| record);
            if record.is_none() && backlog.is_empty() {
                return Err(absent(session));
            }
            of_session(session, record.as_ref(), &backlog, &workers)
        }
        None => of_pools(broker, &backlog, &workers).await?,
    };
    let mut output = Output::new();
    if ls.json {
        for lane in &lanes {
            output.json(&json!(lane)).await?;
        }
    } else {
        output.line(&table(&lanes)).await?;
    }
    Ok(DONE)
}

/// The four lanes of a session.
pub(crate) fn of_session(
    session: &str,
    record: Option<&SessionRecord>,
    backlog: &[Backlog],
    workers: &[Presence],
) -> Vec<Lane> {
    let default = || Route::Pool(DEFAULT_POOL.to_owned());
    let lanes = SessionLane::ALL.into_iter().map(|lane| {
        let rows = backlog
            .iter()
            .filter(|row| row.session == session && row.lane == lane);
        let route = record.map(|record| record.route.clone());
        let route = route
            .or_else(|| rows.clone().next().map(|row| row.route.clone()))
            .unwrap_or_else(default);
        let serving = workers.iter().filter(|w| w.takes(session, &route, lane));
        Lane {
            lane,
            handler: record.and_then(|record| record.lanes.get(lane.id()).copied()),
            queued: rows.clone().map(|row| row.queued).sum(),
            running: rows.map(|row| row.running).sum(),
            workers: serving.clone().count(),
            slots: serving.map(|worker| worker.slots).sum(),
            route,
        }
    });
    lanes.collect()
}

/// The lanes of every pool that has a worker or a task, and of the default one.
async fn of_pools(
    broker: &Broker,
    backlog: &[Backlog],
    workers: &[Presence],
) -> Result<Vec<Lane>, Failure> {
    let mut pools = BTreeSet::from([DEFAULT_POOL]);
    pools.extend(workers.iter().filter_map(|worker| match &worker.serves {
        Serves::Pool(pool) => Some(pool.as_str()),
        Serves::Session(_) => None,
    }));
    pools.extend(backlog.iter().filter_map(|row| match &row.route {
        Route::Pool(pool) => Some(pool.as_str()),
        Route::Own => None,
    }));
    let mut lanes = Vec::new();
    for pool in pools {
        for lane in SessionLane::ALL {
            let info = frontier::pool_lane(broker, pool, lane).await;
            let info = info.map_err(Failure::broker)?;
            let route = Route::Pool(pool.to_owned());
            let serving = workers.iter().filter(|w| w.takes("", &route, lane));
            lanes.push(Lane {
                lane,
                handler: None,
                queued: info.as_ref().map_or(0, |info| info.num_pending),
                running: info.map_or(0, |info| info.num_ack_pending as u64),
                workers: serving.clone().count(),
                slots: serving.map(|worker| worker.slots).sum(),
                route,
            });
        }
    }
    Ok(lanes)
}

/// Lanes for people.
pub(crate) fn table(lanes: &[Lane]) -> String {
    let header = [
        "lane", "goes to", "handled", "queued", "running", "workers", "slots",
    ];
    let rows = lanes.iter().map(|lane| {
        [
            lane.lane.id().to_owned(),
            place(&lane.route),
            lane.handler.map_or_else(|| "-".to_owned(), handled),
            lane.queued.to_string(),
            lane.running.to_string(),
            lane.workers.to_string(),
            lane.slots.to_string(),
        ]
    });
    listing(header, rows)
}

fn handled(handler: LaneHandlerConfig) -> String {
    let mode = match handler.mode {
        TaskHandlerMode::Internal => "internal",
        TaskHandlerMode::External => "external",
        TaskHandlerMode::Hybrid => "hybrid",
    };
    format!("{mode}, {} ms", handler.timeout_ms)
}

impl Set {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        if self.mode.is_none() && self.timeout.is_none() {
            return Err(Failure::usage(
                "nothing to set: say --mode internal, external or hybrid, or --timeout 10m",
            ));
        }
        let broker = app.coordinator.broker();
        let lane = self.lane.id();
        let written = records::edit(broker, &self.session, |record| {
            let handler = record.lanes.entry(lane.to_owned()).or_insert_with(unsaid);
            handler.mode = self.mode.unwrap_or(handler.mode);
            let timeout = self.timeout.map(duration::milliseconds);
            handler.timeout_ms = timeout.unwrap_or(handler.timeout_ms);
        });
        let record = written.await.map_err(Failure::broker)?;
        let record = record.ok_or_else(|| absent(&self.session))?;
        let handler = record.lanes.get(lane).copied().unwrap_or_else(unsaid);
        let mut output = Output::new();
        if self.json {
            let shown = json!({ "session_id": self.session, "lane": lane, "handler": handler });
            output.json(&shown).await?;
        } else {
            let text = format!("lane {lane} of {}: {}", self.session, handled(handler));
            output.line(&text).await?;
        }
        Ok(DONE)
    }
}

/// The handler of a lane that the record says nothing of. Whoever sets a lane from outside the
/// session's process means workers, unless told otherwise.
fn unsaid() -> LaneHandlerConfig {
    LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        timeout_ms: DEFAULT_TIMEOUT_MS,
    }
}

fn mode(text: &str) -> Result<TaskHandlerMode, String> {
    match text.to_ascii_lowercase().as_str() {
        "internal" => Ok(TaskHandlerMode::Internal),
        "external" => Ok(TaskHandlerMode::External),
        "hybrid" => Ok(TaskHandlerMode::Hybrid),
        _ => Err(format!(
            "unknown mode {text:?}: use internal, external or hybrid"
        )),
    }
}
