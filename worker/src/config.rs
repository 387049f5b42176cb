//! What a worker is told at its start, checked once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::Settings;
use a3s_shared::protocol::signature::{SigningKey, TrustList};
use a3s_shared::protocol::{
    DEFAULT_POOL, InvalidToken, Serves, SessionLane, Token, is_reserved_pool, validate_token,
};

use crate::sandbox::Sandbox;
use crate::steps::Steps;
use crate::turn::{FARTHEST, Turn};

/// The most tasks that a worker runs at a time.
const MAX_CONCURRENCY: usize = 4_096;

/// How long a drain waits for running tools before it stops them.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// What the contents of trees may take on the disk, in bytes.
pub const DEFAULT_CACHE_SIZE: u64 = 10 * 1024 * 1024 * 1024;

/// What a worker is told at its start.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Unique in space and time. Default: made from a new UUID.
    pub worker_id: String,
    /// Whose tasks it takes. Default: those of pool `default`.
    pub serves: Serves,
    /// When it gets a task that others of its pool would take too. Default: as the pool's policy
    /// has it for who says nothing.
    pub turn: Turn,
    /// From which lanes. Default: all.
    pub lanes: Vec<SessionLane>,
    /// How many tasks at a time, beside one of the Control lane. Default: the number of cores.
    pub concurrency: usize,
    /// The directory that tools may touch. Default: the current one.
    pub workspace: PathBuf,
    /// Where trees are kept that tasks name. Default: in the user's cache directory.
    pub cache_dir: Option<PathBuf>,
    /// What their contents may take there, in bytes. Default: 10 GiB.
    pub cache_size: u64,
    /// What its owner says of it.
    pub labels: BTreeMap<String, String>,
    /// How long a drain waits for running tools. Default: 30 s.
    pub drain: Duration,
    /// For the streams and consumers that it has to create.
    pub settings: Settings,
    /// What its tools may do, and what holds them to it. Default: all that its user may.
    pub sandbox: Arc<Sandbox>,
    /// Who is told of each step of a delivery. Default: nobody.
    pub steps: Steps,
    /// Signs its results. Default: none, it does not sign.
    pub signing_key: Option<Arc<SigningKey>>,
    /// Whose tasks it runs. Default: none, it runs everybody's.
    pub trust: Option<Arc<TrustList>>,
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
    /// A worker for one session has nobody to come before or after.
    #[error("a worker of session {0} has no turn: --distance and --help-when are for pools")]
    TurnInSession(String),
    /// Beyond what the broker knows.
    #[error("invalid distance {0}: use 0 (nearest) to {FARTHEST}")]
    Distance(u8),
    /// A helper that waits for nothing.
    #[error("a helper that helps when 0 tasks wait is none: use 1 or more")]
    HelpAlways,
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
    /// The policy allows a tool that the worker does not have.
    #[error("policy rule \"tools\": this worker has no tool {tool:?}; it has {}", known.join(", "))]
    NoSuchTool {
        /// As the policy names it.
        tool: String,
        /// What the worker has.
        known: Vec<String>,
    },
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            worker_id: format!("w-{}", Token::unique()),
            serves: Serves::Pool(DEFAULT_POOL.to_owned()),
            turn: Turn::Any,
            lanes: SessionLane::ALL.to_vec(),
            concurrency: std::thread::available_parallelism().map_or(1, usize::from),
            workspace: PathBuf::from("."),
            cache_dir: None,
            cache_size: DEFAULT_CACHE_SIZE,
            labels: BTreeMap::new(),
            drain: DEFAULT_DRAIN,
            settings: Settings::default(),
            sandbox: Arc::default(),
            steps: Steps::default(),
            signing_key: None,
            trust: None,
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
        match (self.turn, &self.serves) {
            (Turn::Distance(_) | Turn::HelpWhen(_), Serves::Session(session)) => {
                return Err(ConfigError::TurnInSession(session.clone()));
            }
            (Turn::Distance(distance), _) if distance > FARTHEST => {
                return Err(ConfigError::Distance(distance));
            }
            (Turn::HelpWhen(0), _) => return Err(ConfigError::HelpAlways),
            _ => {}
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
