//! What a worker is told at its start, checked once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use a3s_shared::broker::Settings;
use a3s_shared::protocol::{
    DEFAULT_POOL, InvalidToken, Serves, SessionLane, Token, is_reserved_pool, validate_token,
};

use crate::steps::Steps;

/// The most tasks that a worker runs at a time.
const MAX_CONCURRENCY: usize = 4_096;

/// How long a drain waits for running tools before it stops them.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// What a worker is told at its start.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Unique in space and time. Default: made from a new UUID.
    pub worker_id: String,
    /// Whose tasks it takes. Default: those of pool `default`.
    pub serves: Serves,
    /// From which lanes. Default: all.
    pub lanes: Vec<SessionLane>,
    /// How many tasks at a time, beside one of the Control lane. Default: the number of cores.
    pub concurrency: usize,
    /// The directory that tools may touch. Default: the current one.
    pub workspace: PathBuf,
    /// What its owner says of it.
    pub labels: BTreeMap<String, String>,
    /// How long a drain waits for running tools. Default: 30 s.
    pub drain: Duration,
    /// For the streams and consumers that it has to create.
    pub settings: Settings,
    /// Who is told of each step of a delivery. Default: nobody.
    pub steps: Steps,
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name cannot be a part of a subject.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// `own` and the names of lanes have a meaning in subjects.
    #[error("invalid pool {0:?}: the word has a meaning of its own; choose another name")]
    ReservedPool(String),
    /// No lane.
    #[error("no lanes: name at least one of control, query, execute, generate")]
    NoLanes,
    /// Zero slots, or an absurd number.
    #[error("invalid concurrency {0}: use 1 to 4096")]
    Concurrency(usize),
    /// The workspace is no directory that can be read.
    #[error("cannot use {path} as the workspace: {source}")]
    Workspace {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            worker_id: format!("w-{}", Token::unique()),
            serves: Serves::Pool(DEFAULT_POOL.to_owned()),
            lanes: SessionLane::ALL.to_vec(),
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            workspace: PathBuf::from("."),
            labels: BTreeMap::new(),
            drain: DEFAULT_DRAIN,
            settings: Settings::default(),
            steps: Steps::default(),
        }
    }
}

impl WorkerConfig {
    /// Checks it, as [`Worker::start`](crate::worker::Worker::start) does too.
    ///
    /// # Errors
    /// [`ConfigError`]: what cannot work, and what can.
    pub fn check(&self) -> Result<(), ConfigError> {
        validate_token("worker id", &self.worker_id)?;
        match &self.serves {
            Serves::Session(session) => validate_token("session id", session)?,
            Serves::Pool(pool) if is_reserved_pool(pool) => {
                return Err(ConfigError::ReservedPool(pool.clone()));
            }
            Serves::Pool(pool) => validate_token("pool", pool)?,
        }
        if self.lanes.is_empty() {
            return Err(ConfigError::NoLanes);
        }
        if !(1..=MAX_CONCURRENCY).contains(&self.concurrency) {
            return Err(ConfigError::Concurrency(self.concurrency));
        }
        Ok(())
    }
}
