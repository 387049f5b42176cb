//! One line of a batch: `{"command_type","payload","lane"?,"timeout_ms"?,"id"?}`.

use std::collections::HashMap;

use a3s_shared::protocol::{SessionLane, TaskResult, validate_token};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A task as it was typed. An unknown field is an error: it is a typing mistake that would
/// otherwise be found in the results.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// The name of a tool.
    #[serde(alias = "commandType")]
    pub(crate) command_type: String,
    /// The tool's input.
    #[serde(default)]
    pub(crate) payload: Value,
    /// Default: the tool's.
    pub(crate) lane: Option<SessionLane>,
    /// Default: `--timeout`.
    #[serde(alias = "timeoutMs")]
    pub(crate) timeout_ms: Option<u64>,
    /// Default: a new one.
    #[serde(alias = "task_id", alias = "taskId")]
    pub(crate) id: Option<String>,
}

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Which task of the batch it is, from 0; blank lines are not counted.
    pub(crate) index: usize,
    /// Which line of the file, from 1.
    pub(crate) number: usize,
    /// The task, or what is wrong with the line.
    pub(crate) entry: Result<Entry, String>,
}

/// Gives lines their index and finds ids that are used twice.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    number: usize,
    next_index: usize,
    ids: HashMap<String, usize>,
}

impl Parser {
    /// Reads the next line of the file; none when it is blank. `Err` is a line that could not be
    /// read.
    pub(crate) fn next(&mut self, text: Result<&[u8], String>) -> Option<Line> {
        self.number += 1;
        if text.as_ref().is_ok_and(|text| text.trim_ascii().is_empty()) {
            return None;
        }
        let index = self.next_index;
        self.next_index += 1;
        Some(Line {
            index,
            number: self.number,
            entry: text.and_then(|text| self.entry(text)),
        })
    }

    fn entry(&mut self, text: &[u8]) -> Result<Entry, String> {
        let entry: Entry = serde_json::from_slice(text).map_err(|e| without_line(&e))?;
        if entry.command_type.is_empty() {
            return Err("command_type is empty: name a tool, for example \"read\"".to_owned());
        }
        if entry.timeout_ms == Some(0) {
            return Err("timeout_ms is 0: give at least 1".to_owned());
        }
        if let Some(id) = &entry.id {
            validate_token("id", id).map_err(|e| e.to_string())?;
            if let Some(first) = self.ids.insert(id.clone(), self.number) {
                return Err(format!(
                    "id {id:?} was used in line {first}: ids are unique"
                ));
            }
        }
        Ok(entry)
    }
}

/// serde_json counts lines too, and every line is its line 1: only the column helps.
fn without_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => format!("{} at column {}", &text[..at], error.column()),
        None => text,
    }
}

/// The line that answers a task: its whole result, with its index, its id and how it ended.
pub(crate) fn answer(index: usize, result: &TaskResult) -> Value {
    let mut answer = Map::new();
    answer.insert("index".to_owned(), json!(index));
    answer.insert("id".to_owned(), json!(result.task_id));
    answer.insert("outcome".to_owned(), json!(result.outcome()));
    if let Ok(Value::Object(fields)) = serde_json::to_value(result) {
        answer.extend(fields);
    }
    Value::Object(answer)
}

/// The line that answers a task which has no result.
pub(crate) fn answer_error(line: &Line, id: Option<&str>, kind: &str, error: &str) -> Value {
    json!({
        "index": line.index,
        "id": id,
        "line": line.number,
        "success": false,
        "error": error,
        "error_kind": kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Vec<Line> {
        let mut parser = Parser::default();
        lines
            .iter()
            .filter_map(|line| parser.next(Ok(line.as_bytes())))
            .collect()
    }

    fn error(line: &str) -> String {
        let line = parse(&[line]).remove(0);
        line.entry.expect_err("a mistake")
    }

    #[test]
    fn blank_lines_count_as_lines_not_as_tasks() {
        let read = r#"{"command_type":"read","payload":{"path":"a"}}"#;
        let lines = parse(&[read, "", "  \r", read]);
        let places: Vec<_> = lines.iter().map(|line| (line.index, line.number)).collect();
        assert_eq!(places, [(0, 1), (1, 4)]);
        let entry = lines[1].entry.as_ref().expect("a task");
        assert_eq!(entry.payload["path"], "a");
        assert_eq!(
            (entry.lane, entry.timeout_ms, &entry.id),
            (None, None, &None)
        );
    }

    #[test]
    fn both_casings_are_read() {
        let line = r#"{"commandType":"x","timeoutMs":5,"taskId":"t","lane":"generate"}"#;
        let entry = parse(&[line]).remove(0).entry.expect("a task");
        assert_eq!(entry.timeout_ms, Some(5));
        assert_eq!(entry.lane, Some(SessionLane::Generate));
        assert_eq!(entry.id.as_deref(), Some("t"));
    }

    #[test]
    fn each_mistake_is_named() {
        assert!(error("{").contains("at column 1"), "{}", error("{"));
        assert!(error("{}").contains("command_type"), "{}", error("{}"));
        assert!(error(r#"{"command_type":"x","timeout":5}"#).contains("`timeout`"));
        assert!(error(r#"{"command_type":"x","lane":"fast"}"#).contains("unknown lane \"fast\""));
        assert!(error(r#"{"command_type":"x","id":"a.b"}"#).contains("invalid id \"a.b\""));
        assert!(error(r#"{"command_type":"x","timeout_ms":0}"#).contains("timeout_ms is 0"));
        assert!(error(r#"{"command_type":""}"#).contains("command_type is empty"));
    }

    #[test]
    fn an_id_used_twice_is_refused_with_its_first_line() {
        let line = r#"{"command_type":"x","id":"a"}"#;
        let second = parse(&[line, line]).remove(1);
        assert_eq!(
            second.entry,
            Err("id \"a\" was used in line 1: ids are unique".to_owned())
        );
    }

    #[test]
    fn a_line_that_cannot_be_read_keeps_its_number() {
        let mut parser = Parser::default();
        let line = parser.next(Err("too long".to_owned())).expect("a line");
        assert_eq!((line.number, line.entry), (1, Err("too long".to_owned())));
    }
}
