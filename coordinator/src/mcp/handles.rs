//! Calls as MCP tasks (the extension `io.modelcontextprotocol/tasks`), for clients that declare it:
//! a call that takes long is answered with a handle, and its result is asked for later, also on
//! another connection. The handle is the id of our task.

use std::time::Duration;

use a3s_shared::protocol::{Outcome, TaskResult, clock};
use rmcp::ErrorData;
use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, GetTaskResult, JsonObject, Task, TaskPayload,
    TaskStatus,
};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::door::Door;
use super::stored::{self, Found};
use super::{answer, call::Call};

/// How long a call may take before it becomes a task: most are over by then, and one answer is
/// cheaper than two requests.
pub(super) const HANDED_OUT_AFTER: Duration = Duration::from_secs(5);

/// How often a client shall ask.
const POLL_EVERY_MS: u64 = 2_000;

/// How long results are kept.
const KEPT_MS: u64 = 24 * 60 * 60 * 1_000;

/// The handle of a call that runs.
pub(super) fn handle(call: &Call) -> CreateTaskResult {
    let now = clock::now_ms();
    CreateTaskResult::new(task(&call.id, TaskStatus::Working, now, now))
}

/// `tasks/get`.
///
/// # Errors
/// When there is no such task, or the broker does not answer.
pub(super) async fn get(door: &Door, id: &str) -> Result<GetTaskResult, ErrorData> {
    let found = stored::find(door, id).await.map_err(invalid)?;
    let task = match found {
        Found::Ended(result) => ended(&result, door.options.max_output),
        Found::Open(open) => {
            let at = open.stored.stored_at_ms;
            let task = task(id, TaskStatus::Working, at, clock::now_ms());
            let task = task.with_status_message(open.place.word());
            DetailedTask::new(task, TaskPayload::Working)
        }
        Found::Nowhere => return Err(invalid(format!("there is no task {id}"))),
    };
    Ok(GetTaskResult::new(task))
}

/// `tasks/cancel`.
///
/// # Errors
/// As [`get`].
pub(super) async fn cancel(door: &Door, id: &str) -> Result<(), ErrorData> {
    match stored::end(door, id).await.map_err(invalid)? {
        Found::Nowhere => Err(invalid(format!("there is no task {id}"))),
        Found::Ended(_) | Found::Open(_) => Ok(()),
    }
}

fn ended(result: &TaskResult, max: usize) -> DetailedTask {
    let end = result.started_at_ms + result.duration_ms;
    let task = task(
        &result.task_id,
        TaskStatus::Completed,
        result.started_at_ms,
        end,
    );
    let payload = match result.outcome() {
        Outcome::Cancelled => TaskPayload::Cancelled,
        // Whatever else became of it is a result of the call, which says so itself.
        _ => TaskPayload::Completed {
            result: object(&answer::of_result(result, max)),
        },
    };
    DetailedTask::new(task, payload)
}

fn task(id: &str, status: TaskStatus, created_ms: u64, changed_ms: u64) -> Task {
    Task::new(id, status, moment(created_ms), moment(changed_ms))
        .with_poll_interval_ms(POLL_EVERY_MS)
        .with_ttl_ms(KEPT_MS)
}

fn object(result: &CallToolResult) -> JsonObject {
    match serde_json::to_value(result) {
        Ok(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}

/// A time as the protocol writes it.
fn moment(at_ms: u64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000);
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

fn invalid(why: String) -> ErrorData {
    ErrorData::invalid_params(why, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_protocol_wants_them() {
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
        assert_eq!(moment(1_500), "1970-01-01T00:00:01.5Z");
    }
}
