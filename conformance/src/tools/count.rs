//! Leaves a trace of each start and each end in a file.

use std::path::Path;

use a3s_shared::protocol::ExternalTask;
use a3s_worker::context::ToolContext;
use a3s_worker::tool::{Tool, Verdict};
use serde_json::json;

use super::{append, plain};

/// `start <pid>`, a wait, `end <pid>`.
pub(super) struct Count;

#[async_trait::async_trait]
impl Tool for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let Some(file) = task.payload["file"].as_str() else {
            return Verdict::invalid_input("no file was given");
        };
        match traced(Path::new(file), task, context).await {
            Ok(true) => Verdict::success(json!({ "pid": std::process::id() })),
            Ok(false) => Verdict::failure("stopped", json!({})),
            Err(error) => Verdict::failure(format!("cannot write {file}: {error}"), json!({})),
        }
    }
}

/// Whether it came to its end.
async fn traced(file: &Path, task: &ExternalTask, context: &ToolContext) -> std::io::Result<bool> {
    let pid = std::process::id();
    append(file, &format!("start {pid}"))?;
    let ended = plain::waited(task, context).await;
    if ended {
        append(file, &format!("end {pid}"))?;
    }
    Ok(ended)
}
