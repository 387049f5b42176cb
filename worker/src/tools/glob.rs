//! `glob`: files whose path fits a pattern.

use std::path::Path;

use a3s_shared::protocol::ExternalTask;
use globset::{GlobBuilder, GlobMatcher};
use serde::Deserialize;
use serde_json::json;

use super::output::Capped;
use super::payload::{blocking, failed, parse, stopped};
use super::walk::{Found, Scope, walk};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};

const FIELDS: &str = "pattern, path (the workspace's root), limit (2000), hidden (false)";
/// Files that are answered unless the payload says.
const DEFAULT_LIMIT: usize = 2_000;

/// Finds files by a pattern on their path below `path`, in the order of the paths; honours
/// .gitignore. `*` stops at a `/`, `**` does not.
#[derive(Debug, Default)]
pub struct Glob;

#[derive(Deserialize)]
struct Input {
    pattern: String,
    path: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    hidden: bool,
}

#[async_trait::async_trait]
impl Tool for Glob {
    fn name(&self) -> &str {
        "glob"
    }

    fn starts_programs(&self) -> bool {
        false
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let input = match parse::<Input>(task, FIELDS) {
            Ok(input) => input,
            Err(verdict) => return verdict,
        };
        let pattern = GlobBuilder::new(&input.pattern)
            .literal_separator(true)
            .build();
        let pattern = match pattern {
            Ok(pattern) => pattern.compile_matcher(),
            Err(e) => return Verdict::invalid_input(format!("glob: {e}")),
        };
        let context = context.clone();
        blocking(move || find(&input, &pattern, &context)).await
    }
}

fn find(input: &Input, pattern: &GlobMatcher, context: &ToolContext) -> Verdict {
    let scope = Scope {
        path: input.path.clone(),
        hidden: input.hidden,
        ..Scope::default()
    };
    let walk = match walk(context.workspace(), &scope) {
        Ok(walk) => walk,
        Err(e) => return failed(e),
    };
    let limit = input.limit.unwrap_or(DEFAULT_LIMIT);
    let (mut files, mut errors, mut truncated) = (Vec::new(), Vec::new(), false);
    let mut output = Capped::default();
    for found in walk {
        if let Some(reason) = context.stop_reason() {
            let output = output.into_text();
            return stopped(reason, json!({ "files": files, "output": output }));
        }
        let found = match found {
            Ok(found) => found,
            Err(e) => {
                errors.push(e);
                continue;
            }
        };
        if !pattern.is_match(below(&found, input.path.as_deref())) {
            continue;
        }
        if files.len() == limit {
            truncated = true;
            break;
        }
        let path = found.shown.to_string_lossy();
        output.push(format!("{path}\n").as_bytes());
        files.push(path.into_owned());
    }
    Verdict::success(json!({
        "files": files,
        "output": output.into_text(),
        "truncated": truncated,
        "errors": errors,
    }))
}

/// The part of the path that the pattern is about.
fn below<'a>(found: &'a Found, path: Option<&str>) -> &'a Path {
    match path {
        Some(path) if !found.named => found.shown.strip_prefix(path).unwrap_or(&found.shown),
        _ => &found.shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    fn tree() -> Harness {
        let harness = Harness::new();
        harness.write(".ignore", "target/");
        for path in [
            "a.rs",
            "src/b.rs",
            "src/deep/c.rs",
            "src/d.txt",
            "target/e.rs",
            ".f.rs",
        ] {
            harness.write(path, "");
        }
        harness
    }

    #[tokio::test]
    async fn a_double_star_goes_down_and_ignored_files_are_left_out() {
        let result = tree().success(&Glob, json!({"pattern": "**/*.rs"})).await;
        assert_eq!(
            result["files"],
            json!(["a.rs", "src/b.rs", "src/deep/c.rs"])
        );
        assert_eq!(result["output"], "a.rs\nsrc/b.rs\nsrc/deep/c.rs\n");
    }

    #[tokio::test]
    async fn a_pattern_is_about_the_path_below_the_given_one() {
        let payload = json!({"pattern": "*.rs", "path": "src"});
        let result = tree().success(&Glob, payload).await;
        assert_eq!(result["files"], json!(["src/b.rs"]));
    }

    #[tokio::test]
    async fn a_limit_is_said() {
        let payload = json!({"pattern": "**/*.rs", "limit": 2});
        let result = tree().success(&Glob, payload).await;
        assert_eq!(result["files"], json!(["a.rs", "src/b.rs"]));
        assert_eq!(result["truncated"], true);
    }

    #[tokio::test]
    async fn a_malformed_pattern_is_bad_input() {
        let (error, _) = tree().failure(&Glob, json!({"pattern": "a["})).await;
        assert!(error.contains("a["), "{error}");
    }
}
