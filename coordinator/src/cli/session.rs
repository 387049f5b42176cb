//! The options of a verb that submits tasks, and the session they open.

use std::time::Duration;

use a3s_coordinator::{Coordinator, Session, SessionQueueConfig};
use a3s_shared::protocol::{DEFAULT_POOL, Encoding, Route, Serves, SessionLane, Token};
use clap::Args;
use clap::builder::BoolishValueParser;

use super::failure::Failure;
use super::pump::Room;

/// How long somebody may wonder why nothing happens before it is said that no worker is there.
/// Less than a second, and longer than a worker that is just starting needs.
const SAY_AFTER: Duration = Duration::from_millis(700);

/// Whose tasks these are, and which workers take them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Session")]
pub(crate) struct SessionOptions {
    /// Session to submit to [default: a new one]
    #[arg(long, value_name = "ID", env = "A3S_SESSION", value_parser = session_id)]
    session: Option<String>,

    /// Pool whose workers take the tasks
    #[arg(long, value_name = "NAME", env = "A3S_POOL", default_value = DEFAULT_POOL, conflicts_with = "own")]
    pool: String,

    /// Only workers that were started for this session (a3s-worker --session-id) take the tasks
    #[arg(long, env = "A3S_OWN", value_parser = BoolishValueParser::new())]
    own: bool,

    /// How messages are written: msgpack, or json to read them with the `nats` CLI
    #[arg(long, env = "A3S_ENCODING", default_value = "msgpack")]
    encoding: Encoding,

    /// Fail at once (exit status 3) when no worker serves the lane, instead of waiting for one
    #[arg(long, env = "A3S_REQUIRE_WORKER", value_parser = BoolishValueParser::new())]
    require_worker: bool,
}

fn session_id(text: &str) -> Result<String, String> {
    let id = Token::new("session id", text).map_err(|e| e.to_string())?;
    Ok(id.into())
}

/// What the options mean.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    id: String,
    route: Route,
    encoding: Encoding,
    require_worker: bool,
}

impl SessionOptions {
    /// What was typed, with a new session where none was named.
    pub(crate) fn target(&self) -> Target {
        Target {
            id: match &self.session {
                Some(id) => id.clone(),
                None => Token::unique().into(),
            },
            route: match self.own {
                true => Route::Own,
                false => Route::Pool(self.pool.clone()),
            },
            encoding: self.encoding,
            require_worker: self.require_worker,
        }
    }
}

impl Target {
    /// What workers must serve to take these tasks.
    pub(crate) fn serves(&self) -> Serves {
        match &self.route {
            Route::Pool(pool) => Serves::Pool(pool.clone()),
            Route::Own => Serves::Session(self.id.clone()),
        }
    }

    /// Opens the session. `jobs` limits each of its lanes; without it they follow the fleet.
    pub(crate) async fn open(
        self,
        coordinator: &Coordinator,
        jobs: Option<usize>,
    ) -> Result<Opened, Failure> {
        let session = coordinator
            .session(self.id.as_str())
            .config(config(jobs))
            .route(self.route.clone())
            .encoding(self.encoding)
            .follow_fleet(jobs.is_none())
            .open()
            .await
            .map_err(Failure::broker)?;
        let room = Room::new(coordinator.fleet(), &self.id, &self.route, jobs);
        Ok(Opened {
            session,
            room,
            target: self,
        })
    }
}

fn config(jobs: Option<usize>) -> SessionQueueConfig {
    let config = SessionQueueConfig::default().with_external_lanes();
    match jobs {
        None => config,
        Some(jobs) => SessionQueueConfig {
            control_max_concurrency: jobs,
            query_max_concurrency: jobs,
            execute_max_concurrency: jobs,
            generate_max_concurrency: jobs,
            ..config
        },
    }
}

/// An open session and what a verb needs beside it.
pub(crate) struct Opened {
    /// The session.
    pub(crate) session: Session,
    /// How many tasks it may have under way.
    pub(crate) room: Room,
    target: Target,
}

impl Opened {
    /// Waits until a worker serves `lane`, at most `timeout_ms` milliseconds.
    pub(crate) async fn wait_for_worker(
        &self,
        lane: SessionLane,
        timeout_ms: u64,
    ) -> Result<(), Failure> {
        let mut room = self.room.clone();
        let served = async {
            while self.session.unserved(lane).is_some() {
                room.changed().await;
            }
        };
        let bound = Duration::from_millis(timeout_ms);
        match tokio::time::timeout(bound, served).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Failure::broker(
                self.session.unserved(lane).unwrap_or_default(),
            )),
        }
    }

    /// Makes sure that the user hears about a lane that nobody serves: at once as an error with
    /// `--require-worker`, else within a second on standard error. Call it once a lane.
    pub(crate) fn watch_lane(&self, lane: SessionLane) -> Result<(), Failure> {
        if self.target.require_worker {
            return match self.session.unserved(lane) {
                Some(text) => Err(Failure::broker(text)),
                None => Ok(()),
            };
        }
        let session = self.session.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SAY_AFTER).await;
            if let Some(text) = session.unserved(lane) {
                eprintln!("waiting: {text}");
            }
        });
        Ok(())
    }
}
