//! `ls`: what stands in a directory.

use std::fmt::Write as _;

use a3s_shared::protocol::ExternalTask;
use serde::Deserialize;
use serde_json::json;

use super::output::capped;
use super::payload::{blocking, failed, parse};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};
use crate::workspace::Workspace;

const FIELDS: &str = "path (the workspace's root)";

/// Lists a directory, sorted by name, hidden entries too.
#[derive(Debug, Default)]
pub struct Ls;

#[derive(Deserialize)]
struct Input {
    #[serde(default)]
    path: String,
}

#[async_trait::async_trait]
impl Tool for Ls {
    fn name(&self) -> &str {
        "ls"
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
        blocking(move || list(&workspace, &input.path)).await
    }
}

fn list(workspace: &Workspace, path: &str) -> Verdict {
    let listed = workspace
        .resolve(path)
        .and_then(|path| workspace.read_dir(&path));
    let listed = match listed {
        Ok(listed) => listed,
        Err(e) => return failed(e),
    };
    let mut output = String::new();
    let mut entries = Vec::with_capacity(listed.len());
    for entry in listed {
        let name = entry.name.to_string_lossy();
        let mark = if entry.kind == "dir" { "/" } else { "" };
        let _ = writeln!(output, "{:>10} {name}{mark}", entry.size);
        entries.push(json!({"name": name, "kind": entry.kind, "size": entry.size}));
    }
    Verdict::success(json!({ "entries": entries, "output": capped(output) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    #[tokio::test]
    async fn entries_are_sorted_and_have_kind_and_size() {
        let harness = Harness::new();
        harness.write("d/b", "12345");
        harness.write("d/.a", "");
        harness.write("d/c/x", "");
        std::os::unix::fs::symlink("b", harness.root().join("d/l")).expect("linked");
        let result = harness.success(&Ls, json!({"path": "d"})).await;
        let entries = result["entries"].as_array().expect("is a list");
        let seen: Vec<_> = entries
            .iter()
            .map(|e| (e["name"].as_str(), e["kind"].as_str()))
            .collect();
        let expected = [
            (".a", "file"),
            ("b", "file"),
            ("c", "dir"),
            ("l", "symlink"),
        ];
        assert_eq!(seen, expected.map(|(n, k)| (Some(n), Some(k))));
        assert_eq!(entries[1]["size"], 5);
    }

    #[tokio::test]
    async fn a_null_is_a_missing_field_and_a_wrong_type_is_bad_input() {
        let harness = Harness::new();
        harness.success(&Ls, json!({"path": null})).await;
        harness.success(&Ls, json!(null)).await;
        let (error, _) = harness.failure(&Ls, json!({"path": 3})).await;
        assert!(error.contains("expected a string"), "{error}");
        assert!(error.contains(FIELDS), "{error}");
    }

    #[tokio::test]
    async fn a_missing_directory_is_a_failure_that_names_it() {
        let harness = Harness::new();
        let (error, _) = harness.failure(&Ls, json!({"path": "none"})).await;
        assert!(error.starts_with("none: "), "{error}");
    }
}
