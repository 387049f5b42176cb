//! `list_files`: every file that a search would look at, with its size.
//!
//! A coordinator without a copy of the tree splits a search into tasks by it.

use a3s_shared::protocol::ExternalTask;
use serde_json::{Value, json};

use super::output::Capped;
use super::payload::{blocking, failed, parse, stopped};
use super::walk::{Scope, walk};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};

const FIELDS: &str = "path (the workspace's root), glob (string or list), hidden (false)";
/// A longer list is refused rather than cut: whoever splits a search by it would lose files.
const MAX_FILES: usize = 1_000_000;

/// Lists the files below a path as ripgrep would search them, in its order.
#[derive(Debug, Default)]
pub struct ListFiles;

#[async_trait::async_trait]
impl Tool for ListFiles {
    fn name(&self) -> &str {
        "list_files"
    }

    fn starts_programs(&self) -> bool {
        false
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let scope = match parse::<Scope>(task, FIELDS) {
            Ok(scope) => scope,
            Err(verdict) => return verdict,
        };
        let context = context.clone();
        blocking(move || list(&scope, &context)).await
    }
}

fn list(scope: &Scope, context: &ToolContext) -> Verdict {
    let walk = match walk(context.workspace(), scope) {
        Ok(walk) => walk,
        Err(e) => return failed(e),
    };
    let (mut files, mut errors) = (Vec::<Value>::new(), Vec::new());
    let (mut output, mut bytes, mut named) = (Capped::default(), 0, false);
    for found in walk {
        if let Some(reason) = context.stop_reason() {
            return stopped(reason, json!({ "output": "" }));
        }
        let found = match found {
            Ok(found) => found,
            Err(e) => {
                errors.push(e);
                continue;
            }
        };
        let Some(path) = found.shown.to_str() else {
            errors.push(format!("{}: the name is not UTF-8", found.shown.display()));
            continue;
        };
        if files.len() == MAX_FILES {
            return failed(format!("over {MAX_FILES} files; list parts of the tree"));
        }
        let size = found.size();
        named |= found.named;
        bytes += size;
        output.push(format!("{path}\n").as_bytes());
        files.push(json!([path, size]));
    }
    Verdict::success(json!({
        "files": files,
        "bytes": bytes,
        "kind": if named { "file" } else { "dir" },
        "errors": errors,
        "output": output.into_text(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    #[tokio::test]
    async fn files_have_sizes_and_come_as_a_search_would_take_them() {
        let harness = Harness::new();
        harness.write(".ignore", "*.log");
        for (path, content) in [
            ("b/z.rs", "12"),
            ("b.rs", "1"),
            ("b/a.rs", ""),
            ("x.log", ""),
        ] {
            harness.write(path, content);
        }
        harness.write(".hidden", "");
        let result = harness.success(&ListFiles, json!({})).await;
        let files = json!([["b/a.rs", 0], ["b/z.rs", 2], ["b.rs", 1]]);
        assert_eq!(result["files"], files);
        assert_eq!(
            (&result["bytes"], &result["kind"]),
            (&json!(3), &json!("dir"))
        );
        assert_eq!(result["output"], "b/a.rs\nb/z.rs\nb.rs\n");
        let payload = json!({"path": "./b", "glob": ["*.rs", "!z*"]});
        let result = harness.success(&ListFiles, payload).await;
        assert_eq!(result["files"], json!([["./b/a.rs", 0]]));
    }

    #[tokio::test]
    async fn one_file_is_listed_and_named_as_such() {
        let harness = Harness::new();
        harness.write("a", "1");
        let result = harness.success(&ListFiles, json!({"path": "a"})).await;
        assert_eq!(result["files"], json!([["a", 1]]));
        assert_eq!(result["kind"], "file");
    }

    #[tokio::test]
    async fn a_name_that_is_no_utf_8_is_told_and_not_lost_silently() {
        use std::os::unix::ffi::OsStrExt;
        let harness = Harness::new();
        let name = std::ffi::OsStr::from_bytes(b"bad\xff");
        std::fs::write(harness.root().join(name), "").expect("written");
        let result = harness.success(&ListFiles, json!({})).await;
        assert_eq!(result["errors"][0], "bad\u{fffd}: the name is not UTF-8");
    }
}
