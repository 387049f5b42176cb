//! Reads a task's payload into what a tool takes, and says what is wrong with it.

use std::fmt::Display;

use a3s_shared::protocol::ExternalTask;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::context::StopReason;
use crate::tool::{ToolResult, Verdict};

/// The payload as the tool's input. A field that is null is one that is missing, and a missing
/// payload is an empty object: models and generated clients send both.
///
/// # Errors
/// A verdict that names what is missing or wrong, and `fields`, all that the tool takes.
pub(super) fn parse<T: DeserializeOwned>(task: &ExternalTask, fields: &str) -> Result<T, Verdict> {
    let payload = match task.payload.clone() {
        Value::Null => json!({}),
        Value::Object(mut given) => {
            given.retain(|_, value| !value.is_null());
            Value::Object(given)
        }
        other => other,
    };
    serde_json::from_value(payload).map_err(|e| {
        let tool = &task.command_type;
        Verdict::invalid_input(format!("{tool}: {e}; the payload takes {fields}"))
    })
}

/// The tool ran, failed and printed nothing.
pub(super) fn failed(error: impl Display) -> Verdict {
    Verdict::failure(error.to_string(), json!({ "output": "" }))
}

/// Runs `work`, which blocks, off the threads that drive the worker.
pub(super) async fn blocking(work: impl FnOnce() -> Verdict + Send + 'static) -> Verdict {
    match tokio::task::spawn_blocking(work).await {
        Ok(verdict) => verdict,
        Err(e) => failed(format!("the tool broke off: {e}")),
    }
}

/// The task had to stop; `result` is what was found until then.
pub(super) fn stopped(reason: StopReason, result: Value) -> Verdict {
    Verdict::Done(ToolResult {
        success: false,
        result,
        error: Some(format!("stopped: {reason}")),
        error_kind: reason.error_kind(),
    })
}
