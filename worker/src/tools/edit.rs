//! `edit`: replaces an exact piece of a file.

use std::io::Read;

use a3s_shared::protocol::ExternalTask;
use serde::Deserialize;
use serde_json::json;

use super::payload::{Failure, blocking, failed, parse};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};
use crate::workspace::Workspace;

const FIELDS: &str = "file_path (or path), old_string, new_string, replace_all (false)";
/// A file is edited in memory; a larger one is no text that somebody edits by hand.
const MAX_FILE: u64 = 64 * 1024 * 1024;

/// Replaces an exact piece of a text file. Without `replace_all` it must occur once.
#[derive(Debug, Default)]
pub struct Edit;

#[derive(Deserialize)]
struct Input {
    #[serde(alias = "path")]
    file_path: String,
    old_string: String,
    new_string: String,
    #[serde(default)]
    replace_all: bool,
}

#[async_trait::async_trait]
impl Tool for Edit {
    fn name(&self) -> &str {
        "edit"
    }

    fn starts_programs(&self) -> bool {
        false
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let input = match parse::<Input>(task, FIELDS) {
            Ok(input) if input.old_string.is_empty() => {
                return Verdict::invalid_input(
                    "edit: old_string is empty; use write for a new file",
                );
            }
            Ok(input) => input,
            Err(verdict) => return verdict,
        };
        let workspace = context.workspace().clone();
        blocking(move || match edit(&workspace, &input) {
            Ok(replacements) => Verdict::success(json!({
                "output": format!("Replaced {replacements} in {}", input.file_path),
                "replacements": replacements,
            })),
            Err(error) => failed(error),
        })
        .await
    }
}

/// How many pieces were replaced.
fn edit(workspace: &Workspace, input: &Input) -> Result<usize, Failure> {
    let shown = &input.file_path;
    let path = workspace.resolve(shown)?;
    let file = workspace.open_file(&path)?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    read.map_err(|e| format!("{shown}: {e}"))?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("{shown} is over {MAX_FILE} bytes").into());
    }
    let found = text.matches(&input.old_string).count();
    match found {
        0 => return Err(format!("old_string was found 0 times in {shown}").into()),
        1 => {}
        _ if input.replace_all => {}
        _ => {
            return Err(format!(
                "old_string was found {found} times in {shown}; give more of its surroundings, \
                 or set replace_all"
            )
            .into());
        }
    }
    let edited = text.replace(&input.old_string, &input.new_string);
    let written = workspace.write(&path, edited.as_bytes());
    Ok(written.map(|()| found)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    #[tokio::test]
    async fn one_occurrence_is_replaced() {
        let harness = Harness::new();
        harness.write("a", "one two");
        let payload = json!({"path": "a", "old_string": "two", "new_string": "2"});
        let result = harness.success(&Edit, payload).await;
        assert_eq!(result["replacements"], 1);
        assert_eq!(harness.read("a"), "one 2");
    }

    #[tokio::test]
    async fn several_occurrences_need_replace_all() {
        let harness = Harness::new();
        harness.write("a", "x x x");
        let mut payload = json!({"path": "a", "old_string": "x", "new_string": "y"});
        let (error, _) = harness.failure(&Edit, payload.clone()).await;
        assert!(error.contains("found 3 times"), "{error}");
        assert_eq!(harness.read("a"), "x x x");
        payload["replace_all"] = true.into();
        let result = harness.success(&Edit, payload).await;
        assert_eq!(result["replacements"], 3);
        assert_eq!(harness.read("a"), "y y y");
    }

    #[tokio::test]
    async fn what_is_not_there_is_a_failure() {
        let harness = Harness::new();
        harness.write("a", "x");
        let payload = json!({"path": "a", "old_string": "z", "new_string": "y"});
        let (error, _) = harness.failure(&Edit, payload).await;
        assert!(error.contains("found 0 times in a"), "{error}");
    }
}
