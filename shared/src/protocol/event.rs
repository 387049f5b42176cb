//! What happens, told to whoever listens. Best effort: nothing depends on an event.

use serde::{Deserialize, Serialize};

use super::SessionLane;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum EventKind { $($(#[$doc])* #[serde(rename = $name)] $variant,)* }

        impl EventKind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in the body, and behind `a3s.<session>.event.` in the subject.
            #[must_use]
            pub const fn id(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// The broker has accepted the task.
    Submitted = "queue.command.submitted",
    /// A handler began an attempt.
    Started = "queue.command.started",
    /// The tool succeeded.
    Completed = "queue.command.completed",
    /// An attempt brought no result; another one follows after `delay_ms`.
    Retry = "queue.command.retry",
    /// Given up; a copy is among the dead letters.
    DeadLettered = "queue.command.dead_lettered",
    /// The tool failed, or the task was cancelled or is of unknown fate.
    Failed = "queue.command.failed",
    /// The deadline passed first.
    Timeout = "queue.command.timeout",
    /// More tasks wait in a lane than the configured threshold.
    Pressure = "queue.lane.pressure",
    /// A lane that was under pressure is empty.
    Idle = "queue.lane.idle",
    /// An alert fired; `error` is its text.
    Alert = "queue.alert",
    /// A session began to close.
    ShutdownStarted = "queue.shutdown.started",
    /// A session is closed; everyone who waited has an answer.
    ShutdownComplete = "queue.shutdown.complete",
}

/// The body of an event (always JSON, so that `nats sub` shows it).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The session it happened in.
    pub session_id: String,
    /// When, in the broker's time, milliseconds since 1970.
    pub time_ms: u64,
    /// The task, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The lane, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<SessionLane>,
    /// The task's tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_type: Option<String>,
    /// Which attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Who runs or ran it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// How long the attempt ran, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The wait before the next attempt, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

impl Event {
    /// An event that concerns a session as a whole.
    #[must_use]
    pub fn of_session(kind: EventKind, session_id: impl Into<String>, time_ms: u64) -> Self {
        Self {
            kind,
            session_id: session_id.into(),
            time_ms,
            task_id: None,
            lane: None,
            command_type: None,
            attempt: None,
            worker_id: None,
            duration_ms: None,
            error: None,
            delay_ms: None,
        }
    }
}
