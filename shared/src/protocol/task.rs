//! A task, as workers see it and as it is on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{SessionLane, clock};

/// One unit of work, as a worker or a host that pulls tasks itself sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalTask {
    /// Unique in space and time, also across restarts of its session.
    #[serde(alias = "taskId", alias = "id")]
    pub task_id: String,
    /// The session that asked.
    #[serde(alias = "sessionId")]
    pub session_id: String,
    /// The lane it was submitted to.
    pub lane: SessionLane,
    /// What to do, for example `read`: the name of a tool.
    #[serde(alias = "commandType")]
    pub command_type: String,
    /// The tool's input.
    #[serde(default)]
    pub payload: Value,
    /// From submit to result, in milliseconds.
    #[serde(alias = "timeoutMs")]
    pub timeout_ms: u64,
    /// When the time is over, in the broker's time, milliseconds since 1970. On the wire it is
    /// the header `A3s-Deadline`.
    #[serde(skip)]
    pub deadline_ms: u64,
}

impl ExternalTask {
    /// Whether the deadline has passed. Right on a machine whose clock is not.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.remaining_ms() == 0
    }

    /// What is left until the deadline, in milliseconds; 0 when it has passed.
    #[must_use]
    pub fn remaining_ms(&self) -> u64 {
        self.deadline_ms.saturating_sub(clock::now_ms())
    }
}

/// The body of a task message. Every field but `command_type` may be missing: the reader knows
/// the rest from the subject, the stream sequence and the defaults. Unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskBody {
    /// Default: made from the stream and the message's sequence in it.
    #[serde(
        default,
        alias = "taskId",
        alias = "id",
        skip_serializing_if = "Option::is_none"
    )]
    pub task_id: Option<String>,
    /// Default: the session in the subject, with which it must agree.
    #[serde(default, alias = "sessionId", skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Default: the lane in the subject, with which it must agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<SessionLane>,
    /// The name of a tool.
    #[serde(alias = "commandType")]
    pub command_type: String,
    /// Default: null.
    #[serde(default)]
    pub payload: Value,
    /// Default: 60,000.
    #[serde(default, alias = "timeoutMs", skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

impl From<&ExternalTask> for TaskBody {
    fn from(task: &ExternalTask) -> Self {
        Self {
            task_id: Some(task.task_id.clone()),
            session_id: Some(task.session_id.clone()),
            lane: Some(task.lane),
            command_type: task.command_type.clone(),
            payload: task.payload.clone(),
            timeout_ms: Some(task.timeout_ms),
        }
    }
}
