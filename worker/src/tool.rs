//! What a tool is: the one trait that built-in tools, programs and a user's own tools implement.
//!
//! A tool never sees the broker. It gets a task and a [`ToolContext`], and answers a [`Verdict`].

use std::time::Duration;

use a3s_shared::protocol::{ErrorKind, ExternalTask, ToolInfo};
use serde_json::Value;

use crate::context::ToolContext;

/// Something a worker can do, known by its command type.
#[async_trait::async_trait]
pub trait Tool: Send + Sync + 'static {
    /// The command type whose tasks this tool runs, for example `read`.
    fn name(&self) -> &str;

    /// What is said of it to agents that may call it. Default: nothing.
    fn info(&self) -> ToolInfo {
        ToolInfo::default()
    }

    /// Whether it starts programs, or writes in any other way than through the workspace it is
    /// given. Such a tool gets a copy of a tree that a task names, in any lane. Default: yes.
    fn starts_programs(&self) -> bool {
        true
    }

    /// Runs one task.
    ///
    /// The future must not block its thread (use `tokio::task::spawn_blocking`). When
    /// [`ToolContext::stopped`] resolves, the tool ends what it started and answers what it has,
    /// at once: it is dropped [`STOP_GRACE`] later.
    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict;

    /// Whether it holds what it runs to the policy's output limit by itself, byte by byte.
    /// Default: no, its result is measured when it answers.
    fn counts_output(&self) -> bool {
        false
    }
}

/// How long a tool may take to answer after it was told to stop.
pub const STOP_GRACE: Duration = Duration::from_millis(800);

/// What a tool answers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Verdict {
    /// It ran. Whether it succeeded or not, this is the task's result.
    Done(ToolResult),
    /// It could not run now; another attempt may. Waits as the task's retry policy says.
    Retry(String),
    /// As `Retry`, after a delay of the tool's choice.
    RetryAfter(String, Duration),
    /// No attempt can succeed: the task goes to the dead letters.
    Reject(String),
}

/// What a tool produced.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolResult {
    /// Whether it did what it was asked.
    pub success: bool,
    /// An object with at least a string `output`; kept also when `success` is false.
    pub result: Value,
    /// Why there is no success: lower case, no full stop.
    pub error: Option<String>,
    /// The kind of the error, unless the tool simply ran and failed.
    pub error_kind: Option<ErrorKind>,
}

impl Verdict {
    /// The tool succeeded.
    #[must_use]
    pub fn success(result: Value) -> Self {
        Self::Done(ToolResult {
            success: true,
            result,
            error: None,
            error_kind: None,
        })
    }

    /// The tool ran and failed; `result` is what it produced all the same.
    #[must_use]
    pub fn failure(error: impl Into<String>, result: Value) -> Self {
        Self::Done(ToolResult {
            success: false,
            result,
            error: Some(error.into()),
            error_kind: None,
        })
    }

    /// The payload is not what the tool takes.
    #[must_use]
    pub fn invalid_input(error: impl Into<String>) -> Self {
        Self::Done(ToolResult {
            success: false,
            result: serde_json::json!({}),
            error: Some(error.into()),
            error_kind: Some(ErrorKind::InvalidInput),
        })
    }
}
