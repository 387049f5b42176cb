//! The door's own tools: a batch of calls, and what became of calls whose client was away.

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Value, json};

use super::builtin::{reads, tool};
use super::many::MAX_CALLS;
use super::recall::MAX_WAIT_SECONDS;

/// A batch of calls in one.
pub(super) const RUN_MANY: &str = "run_many";
/// What became of a call.
pub(super) const FETCH_RESULT: &str = "fetch_result";
/// A part of a long result.
pub(super) const RESULT_READ: &str = "result_read";
/// The end of a call that runs.
pub(super) const CANCEL_TASK: &str = "cancel_task";

/// The names.
pub(super) const NAMES: [&str; 4] = [RUN_MANY, FETCH_RESULT, RESULT_READ, CANCEL_TASK];

/// The tools.
pub(super) fn tools() -> Vec<Tool> {
    vec![run_many(), fetch_result(), result_read(), cancel_task()]
}

fn task_id() -> Value {
    json!({"type": "string", "description": "id of the task, as a call's result or progress told it"})
}

fn run_many() -> Tool {
    tool(
        RUN_MANY,
        "Runs several tool calls at the same time on all workers, and answers all results in one, \
         in the order of the calls; one that fails does not end the others.",
        &["calls"],
        json!({
            "calls": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_CALLS,
                "description": "the calls",
                "items": {
                    "type": "object",
                    "properties": {
                        "tool": {"type": "string", "description": "name of a tool of this server"},
                        "arguments": {"type": "object", "description": "its arguments"},
                    },
                    "required": ["tool"],
                    "additionalProperties": false,
                },
            },
            "wait_seconds": {
                "type": "number",
                "exclusiveMinimum": 0,
                "description": "answer after this time with what there is; calls that still run go \
                                on, and fetch_result has them later [default: wait for all]",
            },
        }),
        ToolAnnotations::with_title("Run many calls")
            .read_only(false)
            .destructive(true)
            .idempotent(false)
            .open_world(true),
    )
}

fn fetch_result() -> Tool {
    tool(
        FETCH_RESULT,
        "Fetches what became of an earlier call of this workspace, also of one whose connection was \
         lost. Without task_id: lists the calls that run and the newest that ended. Results are kept \
         for a day.",
        &[],
        json!({
            "task_id": task_id(),
            "wait_seconds": {
                "type": "number",
                "minimum": 0,
                "maximum": MAX_WAIT_SECONDS,
                "description": "wait so long for a call that still runs [default: 0]",
            },
        }),
        reads("Fetch a result"),
    )
}

fn result_read() -> Tool {
    tool(
        RESULT_READ,
        "Reads a part of a result that was too long: a range of its lines, or those that match a \
         regular expression.",
        &["task_id"],
        json!({
            "task_id": task_id(),
            "field": {
                "type": "string",
                "description": "which text of the result: output, stdout, stderr, content [default: output]",
            },
            "offset": {"type": "integer", "minimum": 0, "description": "first line, counted from 0 [default: 0]"},
            "limit": {"type": "integer", "minimum": 1, "description": "how many lines [default: as many as fit]"},
            "pattern": {"type": "string", "description": "only lines that match this regular expression"},
        }),
        reads("Read a part of a result"),
    )
}

fn cancel_task() -> Tool {
    tool(
        CANCEL_TASK,
        "Ends a call that waits or runs; what it printed until then is its result.",
        &["task_id"],
        json!({"task_id": task_id()}),
        ToolAnnotations::with_title("Cancel a call")
            .read_only(false)
            .destructive(true)
            .idempotent(true)
            .open_world(false),
    )
}
