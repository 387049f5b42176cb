//! `write`: writes a whole file.

use a3s_shared::protocol::ExternalTask;
use serde::Deserialize;
use serde_json::json;

use super::payload::{blocking, failed, parse};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};
use crate::workspace::Workspace;

const FIELDS: &str = "file_path (or path), content";

/// Writes a file whole, in one step that no reader sees a part of; makes parent directories.
#[derive(Debug, Default)]
pub struct Write;

#[derive(Deserialize)]
struct Input {
    #[serde(alias = "path")]
    file_path: String,
    content: String,
}

#[async_trait::async_trait]
impl Tool for Write {
    fn name(&self) -> &str {
        "write"
    }

    fn starts_programs(&self) -> bool {
        false
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let input = match parse::<Input>(task, FIELDS) {
            Ok(input) => input,
            Err(verdict) => return verdict,
        };
        let workspace = context.workspace().clone();
        blocking(move || write(&workspace, &input)).await
    }
}

fn write(workspace: &Workspace, input: &Input) -> Verdict {
    let bytes = input.content.len();
    let lines = input.content.lines().count();
    let written = workspace
        .resolve(&input.file_path)
        .and_then(|path| workspace.write(&path, input.content.as_bytes()));
    match written {
        Ok(()) => Verdict::success(json!({
            "output": format!("Wrote {bytes} bytes ({lines} lines) to {}", input.file_path),
            "bytes": bytes,
            "lines": lines,
        })),
        Err(e) => failed(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    #[tokio::test]
    async fn a_written_file_has_the_content_and_is_counted() {
        let harness = Harness::new();
        let payload = json!({"path": "new/dir/a.txt", "content": "one\ntwo"});
        let result = harness.success(&Write, payload).await;
        assert_eq!(
            (result["bytes"].as_u64(), result["lines"].as_u64()),
            (Some(7), Some(2))
        );
        assert_eq!(harness.read("new/dir/a.txt"), "one\ntwo");
    }

    #[tokio::test]
    async fn a_path_outside_is_a_failure_that_names_it() {
        let harness = Harness::new();
        let payload = json!({"file_path": "../evil", "content": ""});
        let (error, _) = harness.failure(&Write, payload).await;
        assert!(
            error.contains("../evil leads out of the workspace"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_field_is_named_beside_all_that_there_are() {
        let harness = Harness::new();
        let (error, _) = harness.failure(&Write, json!({"path": "a"})).await;
        assert!(error.contains("missing field `content`"), "{error}");
        assert!(error.contains(FIELDS), "{error}");
    }
}
