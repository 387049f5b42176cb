//! Reads a task's payload into what a tool takes, and says what is wrong with it.

use std::borrow::Cow;

use a3s_shared::protocol::{ErrorKind, ExternalTask};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::walk::WalkError;
use crate::context::StopReason;
use crate::tool::{ToolResult, Verdict};
use crate::workspace::PathError;

/// The payload as the tool's input. A field that is null is one that is missing, and a missing
/// payload is an empty object: models and generated clients send both.
///
/// # Errors
/// A verdict that names what is missing or wrong, and `fields`, all that the tool takes.
pub(super) fn parse<T: DeserializeOwned>(task: &ExternalTask, fields: &str) -> Result<T, Verdict> {
    // Read where it is: a search names hundreds of files in it.
    let payload = match &task.payload {
        Value::Null => Cow::Owned(json!({})),
        Value::Object(given) if given.values().any(Value::is_null) => {
            let mut given = given.clone();
            given.retain(|_, value| !value.is_null());
            Cow::Owned(Value::Object(given))
        }
        given => Cow::Borrowed(given),
    };
    T::deserialize(payload.as_ref()).map_err(|e| {
        let tool = &task.command_type;
        Verdict::invalid_input(format!("{tool}: {e}; the payload takes {fields}"))
    })
}

/// Why a tool failed.
#[derive(Debug)]
pub(super) struct Failure {
    error: String,
    kind: Option<ErrorKind>,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self { error, kind: None }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        let refused = matches!(error, PathError::Refused(_));
        Self {
            error: error.to_string(),
            kind: refused.then_some(ErrorKind::Refused),
        }
    }
}

impl From<WalkError> for Failure {
    fn from(error: WalkError) -> Self {
        match error {
            WalkError::Path(error) => error.into(),
            WalkError::Glob(_) => error.to_string().into(),
        }
    }
}

/// The tool ran, failed and printed nothing.
pub(super) fn failed(why: impl Into<Failure>) -> Verdict {
    let Failure { error, kind } = why.into();
    Verdict::Done(ToolResult {
        success: false,
        result: json!({ "output": "" }),
        error: Some(error),
        error_kind: kind,
    })
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
