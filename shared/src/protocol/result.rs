//! A task's result, as hosts see it and as it is on the wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ErrorKind, Outcome, SessionLane};

/// What a handler answers, and what a caller gets.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ExternalTaskResult {
    /// Whether the tool did what it was asked.
    pub success: bool,
    /// What the tool produced; kept when `success` is false.
    #[serde(default)]
    pub result: Value,
    /// Why there is no success.
    #[serde(default)]
    pub error: Option<String>,
    /// How long the last attempt ran, in milliseconds.
    #[serde(default, alias = "durationMs", skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Who ran it.
    #[serde(default, alias = "workerId", skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<String>,
    /// Which attempt this is the result of, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
}

/// The body of a result message. The first one stored for a task is the only one that counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// The task.
    #[serde(alias = "taskId")]
    pub task_id: String,
    /// Its session.
    #[serde(alias = "sessionId")]
    pub session_id: String,
    /// Its lane.
    pub lane: SessionLane,
    /// Its tool; empty when the task could not be decoded.
    #[serde(default, alias = "commandType")]
    pub command_type: String,
    /// Whether the tool did what it was asked.
    pub success: bool,
    /// What the tool produced; kept when `success` is false.
    #[serde(default)]
    pub result: Value,
    /// Why there is no success.
    #[serde(default)]
    pub error: Option<String>,
    /// The kind of `error`; absent when the tool ran and failed.
    #[serde(default, alias = "errorKind")]
    pub error_kind: Option<ErrorKind>,
    /// Which attempt this is the result of, from 1; 0 when none was started.
    #[serde(default)]
    pub attempt: u32,
    /// Who answers.
    #[serde(default, alias = "workerId")]
    pub worker_id: String,
    /// When the attempt began, in the broker's time, milliseconds since 1970.
    #[serde(default, alias = "startedAtMs")]
    pub started_at_ms: u64,
    /// How long the attempt ran, in milliseconds.
    #[serde(default, alias = "durationMs")]
    pub duration_ms: u64,
}

impl TaskResult {
    /// How the task ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome::of(self.success, self.error_kind)
    }
}

impl From<TaskResult> for ExternalTaskResult {
    fn from(result: TaskResult) -> Self {
        Self {
            success: result.success,
            result: result.result,
            error: result.error,
            duration_ms: Some(result.duration_ms),
            worker_id: Some(result.worker_id),
            attempt: Some(result.attempt),
        }
    }
}
