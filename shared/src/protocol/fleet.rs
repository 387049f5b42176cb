//! Who is there: the records in the buckets of workers and sessions. Always JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LaneHandlerConfig, SessionLane};

/// Where a session's external tasks go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// To the workers of a pool, which serve many sessions.
    Pool(String),
    /// To workers that were started for this session alone.
    Own,
}

/// Whose tasks a worker takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Serves {
    /// Those of all sessions that are routed to a pool.
    Pool(String),
    /// Those of one session.
    Session(String),
}

/// A worker's heartbeat, under its id in the bucket of workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Unique in space and time.
    pub worker_id: String,
    /// The machine's name.
    pub host: String,
    /// The process id on that machine.
    pub pid: u32,
    /// The version of the worker.
    pub version: String,
    /// The language or program: `rust`, `python`, `node`.
    pub runtime: String,
    /// Whose tasks it takes.
    pub serves: Serves,
    /// From which lanes.
    pub lanes: Vec<SessionLane>,
    /// Which tools it has.
    pub tools: Vec<String>,
    /// Changes with what the worker says of its tools; absent when it says nothing. The rest is
    /// in its [`Introduction`](super::Introduction), which it gives when it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_digest: Option<String>,
    /// How many tasks it runs at a time (the slot reserved for Control not counted).
    pub slots: usize,
    /// How many run now.
    pub busy: usize,
    /// Tasks it finished since its start.
    pub done: u64,
    /// The directory that its tools see, on its machine.
    pub workspace: String,
    /// What its owner says of it: `region=eu`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What its programs are held by: `off`, `landlock v7 + seccomp`, `wrap bwrap`. `None`: it does
    /// not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// When it started, in the broker's time, milliseconds since 1970.
    pub started_at_ms: u64,
    /// When the broker last answered a pull of it; 0 when never.
    pub last_pull_ms: u64,
    /// When this was written.
    pub seen_at_ms: u64,
    /// Whether it takes no more tasks and finishes what runs.
    #[serde(default)]
    pub draining: bool,
    /// Tasks that it refused because of their signatures. Default: 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
}

/// Whether a session's tasks are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// They are.
    #[default]
    Open,
    /// Submitted tasks wait until the session is resumed.
    Paused,
    /// New tasks are refused.
    Closed,
}

/// A session, under its id in the bucket of sessions. Written by whoever comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The session.
    pub session_id: String,
    /// Where its tasks go.
    pub route: Route,
    /// Whether they are started.
    #[serde(default)]
    pub state: SessionState,
    /// How each lane handles its tasks, by the lane's id.
    #[serde(default)]
    pub lanes: BTreeMap<String, LaneHandlerConfig>,
    /// When it was written first, in the broker's time, milliseconds since 1970.
    pub created_at_ms: u64,
    /// Tasks that were submitted before this moment (as above) are cancelled, also those that
    /// still wait in the process of their caller. Default: 0, none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cancelled_before_ms: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Presence {
    /// Whether this worker takes tasks that go to `route` of `session`, from `lane`.
    #[must_use]
    pub fn takes(&self, session: &str, route: &Route, lane: SessionLane) -> bool {
        let bound = match (&self.serves, route) {
            (Serves::Pool(mine), Route::Pool(theirs)) => mine == theirs,
            (Serves::Session(mine), Route::Own) => mine == session,
            _ => false,
        };
        bound && !self.draining && self.lanes.contains(&lane)
    }
}
