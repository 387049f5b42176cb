//! A task's output, as the user gets it: under the names that were typed, with `--` between
//! groups of two tasks, or as one JSON object a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::request::Mode;
use super::root::Root;

/// What ripgrep prints between groups of lines that are not adjacent.
const SEPARATOR: &[u8] = b"--";

/// `output` with the sent names replaced by the shown ones, at the beginning of each line.
pub(crate) fn rename(output: Vec<u8>, root: &Root) -> Vec<u8> {
    if root.is_same() {
        return output;
    }
    let mut renamed = Vec::with_capacity(output.len() + output.len() / 8);
    for line in output.split_inclusive(|&byte| byte == b'\n') {
        // Every line begins with a path and a separator, so that `--` alone is never a match.
        match line.strip_prefix(root.sent.as_bytes()) {
            Some(rest) if line.trim_ascii_end() != SEPARATOR => {
                renamed.extend_from_slice(root.shown.as_bytes());
                renamed.extend_from_slice(rest);
            }
            _ => renamed.extend_from_slice(line),
        }
    }
    renamed
}

/// Puts the separator between the outputs of consecutive tasks, as if they were one.
#[derive(Debug)]
pub(crate) struct Join {
    groups: bool,
    printed: bool,
}

impl Join {
    /// `groups` tells whether there are separators at all.
    pub(crate) fn new(groups: bool) -> Self {
        Self {
            groups,
            printed: false,
        }
    }

    /// What comes before `output`.
    pub(crate) fn before(&mut self, output: &[u8]) -> &'static [u8] {
        if output.is_empty() {
            return b"";
        }
        let separator = self.groups && self.printed;
        self.printed = true;
        if separator { b"--\n" } else { b"" }
    }
}

/// The lines of one task as JSON. `paths` are those the task searched, as shown, in order.
///
/// A content line is `{"path","line","text"}`, with `"context":true` when it only surrounds a
/// match; `text_base64` stands for `text` that is not UTF-8. A file is `{"path"}`, a count
/// `{"path","count"}`. What is none of these (a notice on a binary file) is `{"path","notice"}`.
pub(crate) fn to_json(output: &[u8], paths: &[String], mode: Mode) -> Vec<Value> {
    let mut reader = LineReader { paths, at: 0 };
    output
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
        .filter(|line| *line != SEPARATOR)
        .map(|line| reader.read(line, mode))
        .collect()
}

/// Takes lines apart. Output follows the order of the paths, so a path is looked for from where
/// the last one was found: a colon in a file's name does no harm.
struct LineReader<'a> {
    paths: &'a [String],
    at: usize,
}

impl LineReader<'_> {
    fn read(&mut self, line: &[u8], mode: Mode) -> Value {
        if mode == Mode::Files {
            return json!({"path": String::from_utf8_lossy(line)});
        }
        let later = self.at..self.paths.len();
        let found = later.chain(0..self.at).find_map(|index| {
            let path = self.paths[index].as_str();
            let rest = line.strip_prefix(path.as_bytes())?;
            let value = match mode {
                Mode::Count => read_count(path, rest),
                _ => read_content(path, rest),
            };
            value.map(|value| (index, value))
        });
        match found {
            Some((index, value)) => {
                self.at = index;
                value
            }
            None => json!({"notice": String::from_utf8_lossy(line)}),
        }
    }
}

fn read_count(path: &str, rest: &[u8]) -> Option<Value> {
    let count: u64 = std::str::from_utf8(rest.strip_prefix(b":")?)
        .ok()?
        .parse()
        .ok()?;
    Some(json!({"path": path, "count": count}))
}

/// Reads `:12:text`, `-12-text` or `: notice`.
fn read_content(path: &str, rest: &[u8]) -> Option<Value> {
    let (&mark, rest) = rest.split_first()?;
    if mark == b':' && rest.starts_with(b" ") {
        return Some(json!({"path": path, "notice": String::from_utf8_lossy(&rest[1..])}));
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let line: u64 = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    if !matches!(mark, b':' | b'-') || rest.get(digits) != Some(&mark) {
        return None;
    }
    let text = &rest[digits + 1..];
    let mut value = json!({"path": path, "line": line});
    match std::str::from_utf8(text) {
        Ok(text) => value["text"] = json!(text),
        Err(_) => value["text_base64"] = json!(STANDARD.encode(text)),
    }
    if mark == b'-' {
        value["context"] = json!(true);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn renamed(output: &str, typed: Option<&str>, inside: &str) -> String {
        let root = Root::new(typed, Path::new(inside)).expect("a root");
        String::from_utf8(rename(output.as_bytes().to_vec(), &root)).expect("text")
    }

    #[test]
    fn names_change_at_the_beginning_of_lines_only() {
        let output = "src/a:1:src/b\nsrc/a-2-x\n--\nsrc/c:9:y\n";
        assert_eq!(
            renamed(output, Some("./src"), "src"),
            "./src/a:1:src/b\n./src/a-2-x\n--\n./src/c:9:y\n"
        );
        assert_eq!(renamed("a:1:b\n--\n", Some("."), ""), "./a:1:b\n--\n");
        assert_eq!(renamed("a:1:b\n", None, ""), "a:1:b\n");
        assert_eq!(renamed("a:1:no end", Some("."), ""), "./a:1:no end");
    }

    #[test]
    fn a_separator_stands_between_outputs_that_are_not_empty() {
        let mut join = Join::new(true);
        let pieces = [&b""[..], b"a", b"", b"b", b"c", b""];
        let text: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| [join.before(piece), piece].concat())
            .collect();
        assert_eq!(text, b"a--\nb--\nc");
        let mut join = Join::new(false);
        assert_eq!(join.before(b"a"), b"");
        assert_eq!(join.before(b"b"), b"");
    }

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn content_lines_become_objects() {
        let paths = paths(&["a", "b-1-c"]);
        let values = to_json(b"a-1-x\na:2:y:z\n--\nb-1-c:3:\n", &paths, Mode::Content);
        assert_eq!(
            values,
            [
                json!({"path": "a", "line": 1, "text": "x", "context": true}),
                json!({"path": "a", "line": 2, "text": "y:z"}),
                json!({"path": "b-1-c", "line": 3, "text": ""}),
            ]
        );
    }

    #[test]
    fn bytes_and_notices_have_their_own_fields() {
        let paths = paths(&["a"]);
        let values = to_json(b"a:1:\xff\na: binary file matches\n", &paths, Mode::Content);
        assert_eq!(
            values[0],
            json!({"path": "a", "line": 1, "text_base64": "/w=="})
        );
        assert_eq!(
            values[1],
            json!({"path": "a", "notice": "binary file matches"})
        );
    }

    #[test]
    fn counts_and_files_become_objects() {
        let paths = paths(&["x:1", "y"]);
        let counts = to_json(b"x:1:20\ny:3\n", &paths, Mode::Count);
        assert_eq!(
            counts,
            [
                json!({"path": "x:1", "count": 20}),
                json!({"path": "y", "count": 3})
            ]
        );
        let files = to_json(b"x:1\n", &paths, Mode::Files);
        assert_eq!(files, [json!({"path": "x:1"})]);
    }
}
