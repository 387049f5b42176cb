//! What a tool call of the agent is on a worker. Pure.
//!
//! The agent's tools and a worker's have the same names and nearly the same fields. Where they
//! differ, a field is translated, dropped because it changes nothing, or refused by name: a field
//! that a worker would overlook may not be sent, for `write` with `mode: append` would overwrite.

use std::path::Path;

use serde_json::{Map, Value, json};

/// The agent's tools that every worker has.
pub(crate) const TOOLS: [&str; 8] = [
    "bash",
    "edit",
    "glob",
    "grep",
    "list_files",
    "ls",
    "read",
    "write",
];

/// Fields that hold a path.
const PATHS: [&str; 2] = ["file_path", "path"];

/// One task for a worker. A call that reads many files is many of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) payload: Value,
    /// What the answer is called among several; None when it is the only one.
    pub(crate) title: Option<String>,
}

/// What `tool`, called with `payload` by an agent in `workspace`, is on a worker.
///
/// # Errors
/// A sentence for the model, when no worker does this.
pub(crate) fn requests(
    tool: &str,
    payload: &Value,
    workspace: &Path,
) -> Result<Vec<Request>, String> {
    if tool == "read"
        && let Some(files) = payload.get("files").filter(|files| !files.is_null())
    {
        return many_reads(files, workspace);
    }
    let Some(fields) = Fields::of(tool) else {
        // A tool of the user's own: nobody here knows its fields.
        return Ok(vec![only(payload.clone())]);
    };
    let payload = fields.translate(tool, payload, workspace)?;
    Ok(vec![only(payload)])
}

fn only(payload: Value) -> Request {
    Request {
        payload,
        title: None,
    }
}

/// Each file is a task of its own: this is where one call of a model becomes parallel.
fn many_reads(files: &Value, workspace: &Path) -> Result<Vec<Request>, String> {
    let fields = Fields::of("read").unwrap_or_default();
    let files = files.as_array().filter(|files| !files.is_empty());
    let files = files.ok_or("read: `files` must be a list of at least one file")?;
    let request = |file: &Value| {
        let payload = fields.translate("read", file, workspace)?;
        let title = file.get("path").and_then(Value::as_str);
        let title = title.ok_or("read: each of `files` needs a `path`")?;
        Ok(Request {
            payload,
            title: Some(title.to_owned()),
        })
    };
    files.iter().map(request).collect()
}

/// The fields of a tool.
#[derive(Debug, Clone, Copy, Default)]
struct Fields {
    /// Mean the same to a worker.
    same: &'static [&'static str],
    /// Change nothing of what a worker does.
    moot: &'static [&'static str],
    /// May be sent with some values, and ask for something that no worker does with others.
    some: &'static [(&'static str, Harmless)],
}

/// Which values of a field a worker can live with.
#[derive(Debug, Clone, Copy)]
enum Harmless {
    /// `false`, which asks for nothing.
    False,
    /// This one, which asks for nothing.
    Only(&'static str),
    /// All but this one; a worker knows the others too.
    AllBut(&'static str),
}

impl Fields {
    fn of(tool: &str) -> Option<Self> {
        Some(match tool {
            "read" => Self {
                same: &["file_path", "path", "offset", "limit"],
                moot: &["max_output_bytes"],
                some: &[],
            },
            "grep" => Self {
                same: &["pattern", "path", "glob", "context", "-i", "limit"],
                moot: &[],
                some: &[("output_mode", Harmless::AllBut("summary"))],
            },
            "glob" => Self {
                same: &["pattern", "path", "limit"],
                moot: &["sort"],
                some: &[],
            },
            "ls" => Self {
                same: &["path"],
                moot: &["limit"],
                some: &[],
            },
            "write" => Self {
                same: &["file_path", "path", "content"],
                moot: &["expected_offset"],
                some: &[("mode", Harmless::Only("overwrite"))],
            },
            "edit" => Self {
                same: &[
                    "file_path",
                    "path",
                    "old_string",
                    "new_string",
                    "replace_all",
                ],
                moot: &[],
                some: &[("dry_run", Harmless::False)],
            },
            "bash" => Self {
                same: &["command", "timeout"],
                // A worker is the sandbox; the agent's host has said yes already.
                moot: &["sandbox_permissions", "justification"],
                some: &[],
            },
            _ => return None,
        })
    }

    fn translate(self, tool: &str, payload: &Value, workspace: &Path) -> Result<Value, String> {
        let given = match payload {
            Value::Object(given) => given,
            Value::Null => return Ok(json!({})),
            _ => return Err(format!("{tool}: the arguments must be an object")),
        };
        let mut taken = Map::new();
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            if self.same.contains(&name.as_str()) {
                taken.insert(name.clone(), below(workspace, name, value));
                continue;
            }
            let harmless = self.some.iter().find(|(field, _)| field == name);
            match harmless.map(|(_, harmless)| harmless.asked(value)) {
                Some(Asked::Nothing) => {}
                Some(Asked::ThisToo) => {
                    taken.insert(name.clone(), value.clone());
                }
                None if self.moot.contains(&name.as_str()) => {}
                _ => return Err(self.refusal(tool, name, value)),
            }
        }
        Ok(Value::Object(taken))
    }

    fn refusal(self, tool: &str, name: &str, value: &Value) -> String {
        let known = self.same.join(", ");
        format!(
            "{tool} with {name}={value} is not done by the workers of this fleet, and nothing was \
             changed: call it with {known} alone"
        )
    }
}

/// What a value asks for.
enum Asked {
    Nothing,
    ThisToo,
    TooMuch,
}

impl Harmless {
    fn asked(self, value: &Value) -> Asked {
        match self {
            Self::False if value == &Value::Bool(false) => Asked::Nothing,
            Self::Only(harmless) if value == harmless => Asked::Nothing,
            Self::AllBut(harmful) if value != harmful => Asked::ThisToo,
            Self::False | Self::Only(_) | Self::AllBut(_) => Asked::TooMuch,
        }
    }
}

/// A path below the agent's workspace means the same path below the worker's: models like to write
/// whole paths.
fn below(workspace: &Path, name: &str, value: &Value) -> Value {
    let path = value.as_str().filter(|_| PATHS.contains(&name));
    match path.and_then(|path| Path::new(path).strip_prefix(workspace).ok()) {
        Some(rest) if rest.as_os_str().is_empty() => json!("."),
        Some(rest) => json!(rest.to_string_lossy()),
        None => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(tool: &str, payload: Value) -> Result<Value, String> {
        let mut requests = requests(tool, &payload, Path::new("/home/me/project"))?;
        assert_eq!(requests.len(), 1);
        Ok(requests.remove(0).payload)
    }

    #[test]
    fn the_fields_of_a_tool_arrive_as_they_were_sent() {
        let payload = json!({"pattern": "fn main", "path": "src", "-i": true, "context": 2});
        assert_eq!(one("grep", payload.clone()), Ok(payload));
        let payload = json!({"file_path": "a.rs", "offset": 3, "limit": 5});
        assert_eq!(one("read", payload.clone()), Ok(payload));
    }

    #[test]
    fn a_whole_path_in_the_agents_workspace_is_one_in_the_workers() {
        let payload = json!({"file_path": "/home/me/project/src/a.rs"});
        assert_eq!(one("read", payload), Ok(json!({"file_path": "src/a.rs"})));
        let payload = json!({"path": "/home/me/project"});
        assert_eq!(one("ls", payload), Ok(json!({"path": "."})));
        let payload = json!({"path": "/home/me/project2/x"});
        assert_eq!(one("ls", payload.clone()), Ok(payload));
        let payload = json!({"command": "cat /home/me/project/a"});
        assert_eq!(one("bash", payload.clone()), Ok(payload));
    }

    #[test]
    fn what_a_worker_would_overlook_is_refused_and_named() {
        let refused = [
            (
                "write",
                json!({"file_path": "a", "content": "b", "mode": "append", "expected_offset": 1}),
                "mode",
            ),
            (
                "edit",
                json!({"file_path": "a", "old_string": "b", "new_string": "c", "dry_run": true}),
                "dry_run",
            ),
            (
                "edit",
                json!({"file_path": "a", "old_string": "b", "new_string": "c", "max_replacements": 2}),
                "max_replacements",
            ),
            ("grep", json!({"pattern": "a", "cursor": "x"}), "cursor"),
            (
                "grep",
                json!({"pattern": "a", "output_mode": "summary"}),
                "output_mode",
            ),
        ];
        for (tool, payload, field) in refused {
            let error = one(tool, payload).expect_err("no worker does this");
            assert!(error.starts_with(tool) && error.contains(field), "{error}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_no_reason_to_refuse() {
        let payload = json!({"file_path": "a", "content": "b", "mode": "overwrite"});
        assert_eq!(
            one("write", payload),
            Ok(json!({"file_path": "a", "content": "b"}))
        );
        let payload = json!({"pattern": "a", "output_mode": "count", "path": null});
        assert_eq!(
            one("grep", payload),
            Ok(json!({"pattern": "a", "output_mode": "count"}))
        );
    }

    #[test]
    fn a_read_of_many_files_is_a_task_for_each() {
        let payload = json!({"files": [
            {"path": "/home/me/project/a.rs"}, {"path": "b.rs", "offset": 2, "limit": 1},
        ], "max_output_bytes": 70_000});
        let requests = requests("read", &payload, Path::new("/home/me/project"));
        let requests = requests.expect("both are fine");
        assert_eq!(requests[0].payload, json!({"path": "a.rs"}));
        assert_eq!(
            requests[1],
            Request {
                payload: json!({"path": "b.rs", "offset": 2, "limit": 1}),
                title: Some("b.rs".to_owned()),
            }
        );
    }

    #[test]
    fn a_tool_of_the_users_own_gets_what_was_sent() {
        let payload = json!({"anything": [1, 2, {"deep": null}]});
        assert_eq!(one("review", payload.clone()), Ok(payload));
    }
}
