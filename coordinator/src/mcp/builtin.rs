//! The tools that every worker has, as agents see them: offered also while no worker is there,
//! because many agents ask for the list once, at their start.

use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

/// Tools of every worker that are no use to an agent: an older name of `glob`, and the bench's.
pub(super) const HIDDEN: [&str; 2] = ["list_files", "noop"];

/// Their names.
pub(super) const NAMES: [&str; 7] = ["read", "grep", "glob", "ls", "bash", "write", "edit"];

/// The tools.
pub(super) fn tools() -> Vec<Tool> {
    vec![read(), grep(), glob(), ls(), bash(), write(), edit()]
}

/// A tool whose payload is an object with these properties.
pub(super) fn tool(
    name: &'static str,
    description: &'static str,
    required: &[&str],
    properties: Value,
    annotations: ToolAnnotations,
) -> Tool {
    let schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    Tool::new(name, description, object(schema)).with_annotations(annotations)
}

/// A JSON object as `rmcp` wants it; what is none is an empty one.
pub(super) fn object(value: Value) -> Arc<JsonObject> {
    match value {
        Value::Object(object) => Arc::new(object),
        _ => Arc::default(),
    }
}

/// It changes nothing and leaves the machine alone.
pub(super) fn reads(title: &str) -> ToolAnnotations {
    ToolAnnotations::with_title(title)
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false)
}

fn changes(title: &str) -> ToolAnnotations {
    ToolAnnotations::with_title(title)
        .read_only(false)
        .destructive(true)
        .open_world(false)
}

fn text(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn count(description: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": description})
}

fn flag(description: &str) -> Value {
    json!({"type": "boolean", "description": description})
}

const PATH: &str = "file or directory below the workspace's root [default: the root]";
const FILE: &str = "path of the file, below the workspace's root";

fn read() -> Tool {
    tool(
        "read",
        "Reads a text file of the workspace, with line numbers.",
        &["file_path"],
        json!({
            "file_path": text(FILE),
            "offset": count("first line to show, counted from 0 [default: 0]"),
            "limit": count("how many lines to show [default: 2000]"),
        }),
        reads("Read a file"),
    )
}

fn grep() -> Tool {
    tool(
        "grep",
        "Searches the workspace's files for a regular expression (Rust syntax, as ripgrep); \
         honours .gitignore.",
        &["pattern"],
        json!({
            "pattern": text("regular expression"),
            "path": text(PATH),
            "glob": text("search only files whose path matches, for example `*.rs`"),
            "context": count("lines to show before and after each match [default: 0]"),
            "ignore_case": flag("letters match in either case [default: false]"),
            "output_mode": {
                "type": "string",
                "enum": ["content", "files_with_matches", "count"],
                "description": "matching lines, or only the files, or how many a file [default: content]",
            },
            "limit": count("the most matching lines, or files [default: no limit]"),
            "hidden": flag("search hidden files too [default: false]"),
        }),
        reads("Search file contents"),
    )
}

fn glob() -> Tool {
    tool(
        "glob",
        "Finds files by a pattern on their path; `**` crosses directories, `*` does not. Honours \
         .gitignore.",
        &["pattern"],
        json!({
            "pattern": text("for example `src/**/*.rs`"),
            "path": text(PATH),
            "limit": count("the most files to list [default: 2000]"),
            "hidden": flag("find hidden files too [default: false]"),
        }),
        reads("Find files"),
    )
}

fn ls() -> Tool {
    tool(
        "ls",
        "Lists a directory of the workspace, hidden entries too.",
        &[],
        json!({"path": text(PATH)}),
        reads("List a directory"),
    )
}

fn bash() -> Tool {
    tool(
        "bash",
        "Runs a shell command on a worker, in the workspace's root. Started at most once: when its \
         worker is lost, the answer is `unknown`, and nothing is repeated.",
        &["command"],
        json!({
            "command": text("the command"),
            "timeout": count("milliseconds until it is killed [default: 120000]"),
        }),
        changes("Run a command").idempotent(false).open_world(true),
    )
}

fn write() -> Tool {
    tool(
        "write",
        "Writes a file of the workspace whole, over one that is there; makes its directories.",
        &["file_path", "content"],
        json!({"file_path": text(FILE), "content": text("all of the file's text")}),
        changes("Write a file").idempotent(true),
    )
}

fn edit() -> Tool {
    tool(
        "edit",
        "Replaces an exact piece of a file's text. The piece must occur once, unless `replace_all`.",
        &["file_path", "old_string", "new_string"],
        json!({
            "file_path": text(FILE),
            "old_string": text("the piece as it is now, white space included"),
            "new_string": text("what it becomes"),
            "replace_all": flag("replace every occurrence [default: false]"),
        }),
        changes("Edit a file").idempotent(false),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_takes_and_what_it_does() {
        let names: Vec<_> = tools().into_iter().map(|tool| tool.name).collect();
        assert_eq!(names, NAMES);
        for tool in tools() {
            let name = &tool.name;
            let properties = tool.input_schema["properties"].as_object();
            let properties = properties.expect("properties");
            let required = tool.input_schema["required"].as_array().expect("a list");
            for field in required {
                let field = field.as_str().expect("a name");
                assert!(properties.contains_key(field), "{name} requires {field}");
            }
            assert!(
                properties.values().all(|p| p["description"].is_string()),
                "{name}"
            );
            let annotations = tool.annotations.as_ref().expect("annotations");
            let reads = ["read", "grep", "glob", "ls"].contains(&&**name);
            assert_eq!(annotations.read_only_hint, Some(reads), "{name}");
            assert_eq!(annotations.is_destructive(), !reads, "{name}");
        }
    }
}
