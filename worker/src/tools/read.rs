//! `read`: the text of a file, or a range of its lines, or a picture.

use std::io::{BufRead, BufReader};

use a3s_shared::protocol::ExternalTask;
use serde::Deserialize;
use serde_json::{Value, json};

use super::image;
use super::output::{Capped, lossy, shorten};
use super::payload::{Failure, blocking, failed, parse};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};
use crate::workspace::Workspace;

const FIELDS: &str = "file_path (or path), offset (0-based line, 0), limit in lines (2000)";
/// Lines in `output` unless the payload says, as in a3s-code-core.
const DEFAULT_LINES: u64 = 2_000;
/// Bytes of a line in `output`, as in a3s-code-core.
const MAX_LINE: usize = 2_000;
/// Bytes in `content`: a file of any size is read in this much memory.
const MAX_CONTENT: usize = 8 * 1024 * 1024;
/// Where a byte 0 means that the file is no text; what most tools look at.
const SNIFF: usize = 8 * 1024;

/// Reads a text file, or a PNG, JPEG, GIF or WebP picture of up to 8 MiB, which is in `images`.
///
/// `content` is the file's text, or that of the lines asked for when `offset` or `limit` is
/// given; `output` shows at most `limit` lines with their numbers.
#[derive(Debug, Default)]
pub struct Read;

#[derive(Deserialize)]
struct Input {
    #[serde(alias = "path")]
    file_path: String,
    offset: Option<u64>,
    limit: Option<u64>,
}

#[async_trait::async_trait]
impl Tool for Read {
    fn name(&self) -> &str {
        "read"
    }

    fn starts_programs(&self) -> bool {
        false
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let input = match parse::<Input>(task, FIELDS) {
            Ok(input) => input,
            Err(verdict) => return verdict,
        };
        let context = context.clone();
        blocking(move || match read(context.workspace(), &input, &context) {
            Ok(result) => Verdict::success(result),
            Err(error) => failed(error),
        })
        .await
    }
}

fn read(workspace: &Workspace, input: &Input, context: &ToolContext) -> Result<Value, Failure> {
    let shown = &input.file_path;
    let path = workspace.resolve(shown)?;
    let file = workspace.open_file(&path)?;
    let mut reader = BufReader::with_capacity(64 * 1024, file);
    let start = reader.fill_buf().map_err(|e| format!("{shown}: {e}"))?;
    if start[..start.len().min(SNIFF)].contains(&0) {
        return match image::media_type(shown) {
            Some(media_type) => Ok(image::read(shown, media_type, reader)?),
            None => {
                Err(format!("{shown} is a binary file; read shows text and pictures only").into())
            }
        };
    }
    let mut range = Range::new(input);
    loop {
        let piece = reader.fill_buf().map_err(|e| format!("{shown}: {e}"))?;
        if piece.is_empty() {
            return Ok(range.into_result());
        }
        if context.is_stopped() {
            return Err(format!("{shown}: stopped before its end").into());
        }
        piece
            .split_inclusive(|byte| *byte == b'\n')
            .for_each(|part| range.take(part));
        let used = piece.len();
        reader.consume(used);
    }
}

/// Takes a file's lines in parts and keeps those that were asked for.
struct Range {
    first: u64,
    /// Lines of `output`.
    limit: u64,
    /// Whether `content` is the whole file, whatever `output` shows.
    whole: bool,
    /// Lines begun so far.
    begun: u64,
    /// Whether the next part begins a line.
    fresh: bool,
    /// The start of the line that is being taken, as much as is shown, and its length.
    line: Vec<u8>,
    length: usize,
    content: Vec<u8>,
    content_cut: bool,
    output: Capped,
}

impl Range {
    fn new(input: &Input) -> Self {
        Self {
            first: input.offset.unwrap_or(0),
            limit: input.limit.unwrap_or(DEFAULT_LINES),
            whole: input.offset.is_none() && input.limit.is_none(),
            begun: 0,
            fresh: true,
            line: Vec::new(),
            length: 0,
            content: Vec::new(),
            content_cut: false,
            output: Capped::default(),
        }
    }

    /// Whether the line with this 0-based number is shown.
    fn shows(&self, line: u64) -> bool {
        line >= self.first && line - self.first < self.limit
    }

    /// Takes a line, or a part of one that the buffer broke.
    fn take(&mut self, part: &[u8]) {
        self.begun += u64::from(self.fresh);
        self.fresh = part.ends_with(b"\n");
        let shown = self.shows(self.begun - 1);
        if shown || self.whole {
            let room = MAX_CONTENT - self.content.len();
            self.content
                .extend_from_slice(&part[..part.len().min(room)]);
            self.content_cut |= part.len() > room;
        }
        if shown {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            // One byte more than is shown tells a cut line from one that just fits.
            let room = (MAX_LINE + 1).saturating_sub(self.line.len());
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            self.length += text.len();
            if self.fresh {
                self.show_line();
            }
        }
    }

    fn show_line(&mut self) {
        let (text, cut) = shorten(&self.line, MAX_LINE);
        let number = self.begun;
        self.output.push(format!("{number:>6}\t{text}").as_bytes());
        if cut > 0 {
            let lost = self.length - (self.line.len() - cut);
            let note = format!(" [... {lost} bytes cut here ...]");
            self.output.push(note.as_bytes());
        }
        self.output.push(b"\n");
        self.line.clear();
        self.length = 0;
    }

    fn into_result(mut self) -> Value {
        if !self.fresh && self.shows(self.begun - 1) {
            self.show_line();
        }
        let end = self.first.saturating_add(self.limit).min(self.begun);
        let eof = end == self.begun;
        json!({
            "content": lossy(self.content),
            "truncated": self.content_cut || self.output.is_cut(),
            "output": self.output.into_text(),
            "range": {
                "returned_lines": end.saturating_sub(self.first),
                "total_lines": self.begun,
                "next_offset": (!eof).then_some(end),
                "eof": eof,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::tools::harness::Harness;

    #[tokio::test]
    async fn a_file_is_read_whole_and_its_lines_are_numbered() {
        let harness = Harness::new();
        harness.write("a", "one\r\ntwo\n\nfour");
        let result = harness.success(&Read, json!({"path": "a"})).await;
        assert_eq!(result["content"], "one\r\ntwo\n\nfour");
        let output = "     1\tone\r\n     2\ttwo\n     3\t\n     4\tfour\n";
        assert_eq!(result["output"], output);
        let range =
            json!({"returned_lines": 4, "total_lines": 4, "next_offset": null, "eof": true});
        assert_eq!(result["range"], range);
    }

    #[tokio::test]
    async fn a_range_is_those_lines_and_says_where_the_next_begins() {
        let harness = Harness::new();
        harness.write("a", "1\n2\n3\n4\n");
        let payload = json!({"file_path": "a", "offset": 1, "limit": 2});
        let result = harness.success(&Read, payload).await;
        assert_eq!(result["content"], "2\n3\n");
        assert_eq!(result["output"], "     2\t2\n     3\t3\n");
        let range = json!({"returned_lines": 2, "total_lines": 4, "next_offset": 3, "eof": false});
        assert_eq!(result["range"], range);
    }

    #[tokio::test]
    async fn an_offset_beyond_the_end_is_an_empty_range() {
        let harness = Harness::new();
        harness.write("a", "1\n");
        let payload = json!({"path": "a", "offset": 9});
        let result = harness.success(&Read, payload).await;
        assert_eq!(result["range"]["returned_lines"], 0);
        assert_eq!(result["range"]["eof"], true);
        harness.write("empty", "");
        let result = harness.success(&Read, json!({"path": "empty"})).await;
        assert_eq!(result["range"]["total_lines"], 0);
        assert_eq!(result["content"], "");
    }

    #[tokio::test]
    async fn a_long_file_shows_two_thousand_lines_and_has_all_its_content() {
        let harness = Harness::new();
        let text = (0..30_000).fold(String::new(), |mut text, i| {
            let _ = writeln!(text, "{i}");
            text
        });
        harness.write("a", &text);
        let result = harness.success(&Read, json!({"path": "a"})).await;
        assert_eq!(result["content"], text);
        let output = result["output"].as_str().expect("is text");
        assert_eq!(output.lines().count(), 2_000);
        assert_eq!(result["range"]["next_offset"], 2_000);
        assert_eq!(result["range"]["total_lines"], 30_000);
    }

    #[tokio::test]
    async fn a_long_line_is_cut_between_characters_and_says_so() {
        let harness = Harness::new();
        // Longer than a read, so that the line comes in parts.
        harness.write("a", format!("x{}\nnext\n", "é".repeat(50_000)));
        let result = harness.success(&Read, json!({"path": "a"})).await;
        let output = result["output"].as_str().expect("is text");
        let mut lines = output.lines();
        let first = lines.next().expect("there is a line");
        assert!(
            first.ends_with("é [... 98002 bytes cut here ...]"),
            "{first}"
        );
        assert_eq!(lines.next(), Some("     2\tnext"));
    }

    #[tokio::test]
    async fn a_binary_file_is_refused() {
        let harness = Harness::new();
        harness.write("a", b"\x7fELF\0\0");
        let (error, _) = harness.failure(&Read, json!({"path": "a"})).await;
        assert_eq!(
            error,
            "a is a binary file; read shows text and pictures only"
        );
    }

    #[tokio::test]
    async fn a_picture_is_told_as_it_is_and_a_text_of_that_name_is_text() {
        let harness = Harness::new();
        harness.write("a.PNG", b"\x89PNG\0\xff");
        let result = harness.success(&Read, json!({"path": "a.PNG"})).await;
        let image = json!({"media_type": "image/png", "data": "iVBORwD/"});
        assert_eq!(result["images"], json!([image]));
        assert_eq!(result["output"], "[Image: image/png (6 bytes)]");
        harness.write("b.png", "no picture");
        let result = harness.success(&Read, json!({"path": "b.png"})).await;
        assert_eq!(result["content"], "no picture");
    }

    #[tokio::test]
    async fn a_picture_that_no_model_takes_is_refused() {
        let harness = Harness::new();
        harness.write("a.png", vec![0; 8 * 1024 * 1024 + 1]);
        let (error, _) = harness.failure(&Read, json!({"path": "a.png"})).await;
        assert!(error.contains("make a smaller copy"), "{error}");
    }

    #[tokio::test]
    async fn a_missing_file_and_a_directory_are_named() {
        let harness = Harness::new();
        let (error, _) = harness.failure(&Read, json!({"path": "none"})).await;
        assert!(error.starts_with("none: No such file"), "{error}");
        let (error, _) = harness.failure(&Read, json!({"path": "."})).await;
        assert_eq!(error, ". is a directory, not a file");
    }
}
