//! What a search task is asked, and what its result holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tree::{File, Filter};

/// What to print of each match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// The lines.
    #[default]
    Content,
    /// The paths of files with at least one (`-l`).
    Files,
    /// The number of lines in each such file (`-c`).
    Count,
}

impl Mode {
    /// The value of `output_mode` in a payload.
    pub(crate) const fn id(self) -> &'static str {
        match self {
            Self::Content => "content",
            Self::Files => "files_with_matches",
            Self::Count => "count",
        }
    }
}

/// What is searched for, in every task alike.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query {
    /// A regular expression of Rust's `regex` crate, as ripgrep takes.
    pub(crate) pattern: String,
    /// Upper and lower case alike.
    pub(crate) ignore_case: bool,
    /// What is printed.
    pub(crate) mode: Mode,
    /// Lines around each match.
    pub(crate) context: u32,
}

impl Query {
    /// Whether groups of lines are separated by `--`.
    pub(crate) fn has_groups(&self) -> bool {
        self.mode == Mode::Content && self.context > 0
    }

    /// The payload of a task that searches `paths`, relative to the workspace, in this order.
    pub(crate) fn payload(&self, paths: Vec<String>) -> Value {
        let mut payload = self.common();
        payload["paths"] = paths.into();
        payload
    }

    /// The payload of a task that searches one file which the user named. ripgrep treats it
    /// otherwise: no filter applies, and its name is not printed.
    pub(crate) fn payload_for_file(&self, path: &str) -> Value {
        let mut payload = self.common();
        payload["path"] = json!(path);
        payload
    }

    fn common(&self) -> Value {
        let mut payload = json!({
            "pattern": self.pattern,
            "raw": true,
            "-i": self.ignore_case,
            "output_mode": self.mode.id(),
        });
        if self.has_groups() {
            payload["context"] = json!(self.context);
        }
        payload
    }
}

/// The payload of a task that lists the files below `path`, by default below the workspace.
pub(crate) fn listing_payload(path: Option<&str>, filter: &Filter) -> Value {
    let mut payload = json!({"hidden": filter.hidden});
    if let Some(path) = path {
        payload["path"] = json!(path);
    }
    if !filter.globs.is_empty() {
        payload["glob"] = json!(filter.globs);
    }
    payload
}

/// What a listing task brought.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Listed {
    files: Vec<(String, u64)>,
    kind: String,
    errors: Vec<String>,
}

impl Listed {
    /// Reads a result.
    ///
    /// # Errors
    /// A sentence when it is not what a `list_files` task answers.
    pub(crate) fn read(result: Value) -> Result<Self, String> {
        serde_json::from_value(result).map_err(|e| format!("the worker's list is unusable: {e}"))
    }

    /// Whether the path is that of one file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind == "file"
    }

    /// The files, under the names that the user knows, and what could not be read.
    pub(crate) fn into_files(self) -> impl Iterator<Item = Result<File, String>> {
        let file = |(path, size)| Ok(File { path, size });
        let errors = self.errors.into_iter().map(Err);
        self.files.into_iter().map(file).chain(errors)
    }
}

/// What a search task brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Found {
    output: String,
    output_base64: Option<String>,
    /// What the worker could not read, a sentence each.
    pub(crate) errors: Vec<String>,
    /// How many files were looked at.
    pub(crate) files_searched: u64,
    /// How many bytes they have; a worker of an earlier version does not tell.
    pub(crate) bytes_searched: Option<u64>,
    /// How many files had a match.
    pub(crate) files_matched: u64,
    /// How many lines matched.
    pub(crate) matched_lines: u64,
}

impl Found {
    /// Reads a result.
    ///
    /// # Errors
    /// A sentence when it is not what a `grep` task of ours answers.
    pub(crate) fn read(result: Value) -> Result<Self, String> {
        serde_json::from_value(result).map_err(|e| format!("the worker's answer is unusable: {e}"))
    }

    /// The bytes as ripgrep prints them; base64 where they are not UTF-8.
    ///
    /// # Errors
    /// A sentence when the base64 is malformed.
    pub(crate) fn into_output(self) -> Result<Vec<u8>, String> {
        match self.output_base64 {
            None => Ok(self.output.into_bytes()),
            Some(text) => STANDARD
                .decode(text)
                .map_err(|e| format!("the worker's output is no base64: {e}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_is_sent_only_where_lines_are_printed() {
        let mut query = Query {
            pattern: "x".to_owned(),
            context: 2,
            ..Query::default()
        };
        let paths = ["a".to_owned()];
        assert_eq!(query.payload(paths.to_vec())["context"], 2);
        query.mode = Mode::Count;
        let payload = query.payload(paths.to_vec());
        assert_eq!(payload.get("context"), None);
        assert_eq!(payload["output_mode"], "count");
    }

    #[test]
    fn a_list_of_files_keeps_order_and_sizes() {
        let answer = json!({"files": [["b", 2], ["a/c", 1]], "kind": "dir", "bytes": 3});
        let listed = Listed::read(answer).expect("a list");
        assert!(!listed.is_file());
        let files: Result<Vec<File>, String> = listed.into_files().collect();
        let files = files.expect("all can be read");
        assert_eq!((files[0].path.as_str(), files[0].size), ("b", 2));
        assert_eq!(files[1].path, "a/c");
    }

    #[test]
    fn output_that_is_not_text_comes_as_base64() {
        let found = Found::read(json!({"output_base64": "/wo="})).expect("a result");
        assert_eq!(found.into_output(), Ok(vec![0xff, b'\n']));
        let found = Found::read(json!({"output": "a:1:b\n"})).expect("a result");
        assert_eq!(found.into_output(), Ok(b"a:1:b\n".to_vec()));
        assert!(Found::read(json!({"output": 7})).is_err());
    }
}
