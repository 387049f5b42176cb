//! The results that a worker gives without, or instead of, a tool's own. Pure.

use a3s_shared::protocol::signature::Refusal;
use a3s_shared::protocol::{CancelMarker, Claim, ErrorKind, ExternalTask, TaskRecord};
use serde_json::{Value, json};

use crate::context::StopReason;
use crate::tool::ToolResult;

fn failure(kind: ErrorKind, error: String, result: Value) -> ToolResult {
    ToolResult {
        success: false,
        result,
        error: Some(error),
        error_kind: Some(kind),
    }
}

/// The deadline passed before the task was started.
pub(crate) fn too_late(task: &ExternalTask) -> ToolResult {
    let error = format!(
        "timed out before it was started: its {} ms were over in the queue",
        task.timeout_ms
    );
    failure(ErrorKind::TimedOut, error, json!({}))
}

/// Cancelled before it was started.
pub(crate) fn cancelled(marker: &CancelMarker) -> ToolResult {
    let error = match marker.reason.as_str() {
        "" => "cancelled before it was started".to_owned(),
        reason => format!("cancelled before it was started: {reason}"),
    };
    failure(ErrorKind::Cancelled, error, json!({}))
}

/// A `once` task whose worker is gone.
pub(crate) fn unknown(claim: &Claim) -> ToolResult {
    let Claim {
        worker_id,
        attempt,
        at_ms,
    } = claim;
    let error = format!(
        "worker {worker_id} started it and was not heard of again; it may have had its effect, \
         so it is not run a second time"
    );
    let known = json!({ "claimed_by": worker_id, "attempt": attempt, "claimed_at_ms": at_ms });
    failure(ErrorKind::Unknown, error, known)
}

/// No attempt is left, or none can succeed.
pub(crate) fn given_up(error: &str) -> ToolResult {
    let error = format!("{error}; kept among the dead letters");
    failure(ErrorKind::DeadLettered, error, json!({}))
}

/// Why the attempts are used up, from the last of them that left a word.
pub(crate) fn exhausted(record: &TaskRecord, attempts: u32) -> String {
    match record.attempts.last() {
        Some(last) => format!(
            "{attempts} attempts failed, the last one with: {}",
            last.error
        ),
        None => format!("{attempts} attempts were started and none ended: each lost its worker"),
    }
}

/// This worker has no such tool.
pub(crate) fn unknown_command(command: &str, tools: &[String]) -> ToolResult {
    let error = format!(
        "Unknown command type: {command}; this worker has {}",
        tools.join(", ")
    );
    failure(ErrorKind::UnknownCommand, error, json!({}))
}

/// The worker's policy does not allow it, or not so much of it.
pub(crate) fn not_allowed(refusal: &crate::policy::Refusal) -> ToolResult {
    let nothing = json!({ "output": "" });
    failure(ErrorKind::Refused, refusal.to_string(), nothing)
}

/// The task's signature does not count here.
pub(crate) fn refused(refusal: &Refusal) -> ToolResult {
    let error = format!("refused by the trust list of this worker: {refusal}");
    failure(ErrorKind::Refused, error, json!({}))
}

/// A tool was stopped. What it produced until then is kept.
pub(crate) fn stopped(reason: StopReason, task: &ExternalTask, partial: Value) -> ToolResult {
    let (kind, error) = match reason {
        StopReason::Deadline => (
            ErrorKind::TimedOut,
            format!("timed out after {} ms", task.timeout_ms),
        ),
        StopReason::Cancelled => (ErrorKind::Cancelled, "cancelled while it ran".to_owned()),
        StopReason::PolicyTime(_) => (ErrorKind::Refused, reason.to_string()),
        StopReason::LeaseLost | StopReason::Shutdown => (
            ErrorKind::Unknown,
            "its worker was stopped while it ran; it may have had its effect, so it is not run \
             a second time"
                .to_owned(),
        ),
    };
    failure(kind, error, partial)
}
