//! The tools that touch no file.

use std::time::Duration;

use a3s_shared::protocol::{ErrorKind, ExternalTask};
use a3s_worker::context::ToolContext;
use a3s_worker::tool::{Tool, ToolResult, Verdict};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Answers its payload.
pub(super) struct Echo;

/// Waits.
pub(super) struct Sleep;

/// Runs and fails.
pub(super) struct Fail;

/// Breaks.
pub(super) struct Throw;

/// Says that no attempt can succeed.
pub(super) struct Reject;

/// Answers much.
pub(super) struct Blob;

/// Shows output while it works.
pub(super) struct Progress;

/// Waits as the payload's `ms` says; `false` when the tool was told to stop first.
pub(super) async fn waited(task: &ExternalTask, context: &ToolContext) -> bool {
    let ms = task.payload["ms"].as_u64().unwrap_or_default();
    tokio::select! {
        () = sleep(Duration::from_millis(ms)) => true,
        _ = context.stopped() => false,
    }
}

fn error(task: &ExternalTask) -> String {
    task.payload["error"]
        .as_str()
        .unwrap_or("no error was given")
        .to_owned()
}

#[async_trait::async_trait]
impl Tool for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        Verdict::success(task.payload.clone())
    }
}

#[async_trait::async_trait]
impl Tool for Sleep {
    fn name(&self) -> &'static str {
        "sleep"
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        if waited(task, context).await {
            return Verdict::success(json!({ "slept_ms": task.payload["ms"] }));
        }
        Verdict::failure("stopped", json!({}))
    }
}

#[async_trait::async_trait]
impl Tool for Fail {
    fn name(&self) -> &'static str {
        "fail"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        let result = match &task.payload["result"] {
            Value::Null => json!({}),
            result => result.clone(),
        };
        let error_kind = match task.payload["kind"].as_str() {
            Some("invalid_input") => Some(ErrorKind::InvalidInput),
            Some("refused") => Some(ErrorKind::Refused),
            _ => None,
        };
        Verdict::Done(ToolResult {
            success: false,
            result,
            error: Some(error(task)),
            error_kind,
        })
    }
}

#[async_trait::async_trait]
impl Tool for Throw {
    fn name(&self) -> &'static str {
        "throw"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        panic!("task {} was to break this tool", task.task_id)
    }
}

#[async_trait::async_trait]
impl Tool for Reject {
    fn name(&self) -> &'static str {
        "reject"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        Verdict::Reject(error(task))
    }
}

#[async_trait::async_trait]
impl Tool for Blob {
    fn name(&self) -> &'static str {
        "blob"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        let bytes = task.payload["bytes"].as_u64().unwrap_or_default();
        match usize::try_from(bytes) {
            Ok(bytes) => Verdict::success(json!({ "text": "x".repeat(bytes) })),
            Err(error) => Verdict::invalid_input(format!("{bytes} bytes: {error}")),
        }
    }
}

#[async_trait::async_trait]
impl Tool for Progress {
    fn name(&self) -> &'static str {
        "progress"
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let chunks = task.payload["chunks"].as_array().into_iter().flatten();
        let mut output = String::new();
        for chunk in chunks.filter_map(Value::as_str) {
            context.progress(chunk.to_owned());
            output.push_str(chunk);
        }
        let output = json!({ "output": output });
        if waited(task, context).await {
            return Verdict::success(output);
        }
        Verdict::failure("stopped", output)
    }
}
