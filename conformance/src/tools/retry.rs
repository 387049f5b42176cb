//! Asks for another attempt until it was started often enough.

use std::path::Path;
use std::time::Duration;

use a3s_shared::protocol::ExternalTask;
use a3s_worker::context::ToolContext;
use a3s_worker::tool::{Tool, Verdict};
use serde_json::json;

use super::append;

/// Succeeds at its start number `until`.
pub(super) struct Retry;

#[async_trait::async_trait]
impl Tool for Retry {
    fn name(&self) -> &'static str {
        "retry"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        let file = task.payload["file"].as_str().unwrap_or_default();
        let until = task.payload["until"].as_u64().unwrap_or(1);
        let starts = match started(Path::new(file)) {
            Ok(starts) => starts,
            Err(error) => return Verdict::invalid_input(format!("cannot write {file:?}: {error}")),
        };
        match task.payload["after_ms"].as_u64() {
            _ if starts >= until => Verdict::success(json!({ "starts": starts })),
            Some(ms) => Verdict::RetryAfter("not yet".to_owned(), Duration::from_millis(ms)),
            None => Verdict::Retry("not yet".to_owned()),
        }
    }
}

/// Notes a start and returns how many there are.
fn started(file: &Path) -> std::io::Result<u64> {
    append(file, &format!("start {}", std::process::id()))?;
    let lines = std::fs::read_to_string(file)?;
    let starts = lines.lines().filter(|line| line.starts_with("start"));
    Ok(starts.map(|_| 1).sum())
}
