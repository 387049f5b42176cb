//! `grep`: searches files as ripgrep does, on ripgrep's own crates.
//!
//! This file reads the payload and shapes the result; `search` does the work. `output` is byte
//! for byte what `rg -n --no-heading --sort path` prints for the same files. One exception: a
//! binary file that is named, with context, is searched as by `rg --no-mmap`, for a file that
//! shrinks while it is mapped would kill the worker.

mod ahead;
mod printer;
mod search;
mod sink;

use std::io::Write;

use a3s_shared::protocol::ExternalTask;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::output::Capped;
use super::payload::{blocking, failed, parse, stopped};
use super::walk::{Scope, walk};
use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};
use printer::Limited;
use search::{Broken, Report, Search};

const FIELDS: &str = "pattern, path (the workspace's root), paths (list), glob (string or list), \
    context, -A, -B, -i, output_mode (content | files_with_matches | count), limit, hidden, raw, \
    max_output_bytes (64 MiB)";

/// How much a raw search may print unless the payload says.
fn default_max_output() -> usize {
    64 * 1024 * 1024
}

/// Searches the files below `path`, or those in `paths`, for lines that match a regular
/// expression; one task uses one core.
///
/// With `raw`, for whoever merges the output of many searches, `output` is whole (or
/// `output_base64`, when it is not UTF-8), and there is no list of matches. The outputs of parts,
/// one after the other, are the output of the whole; with context, a line `--` goes between two
/// that are not empty.
#[derive(Debug, Default)]
pub struct Grep;

#[derive(Debug, Deserialize)]
struct Input {
    pattern: String,
    #[serde(flatten)]
    scope: Scope,
    /// Search these files, in this order, instead of walking.
    paths: Option<Vec<String>>,
    #[serde(default, alias = "-C")]
    context: usize,
    #[serde(rename = "-A")]
    after: Option<usize>,
    #[serde(rename = "-B")]
    before: Option<usize>,
    #[serde(default, rename = "-i", alias = "ignore_case")]
    ignore_case: bool,
    #[serde(default)]
    output_mode: Mode,
    /// Matching lines in content mode, files in the others.
    limit: Option<u64>,
    #[serde(default)]
    raw: bool,
    #[serde(default = "default_max_output")]
    max_output_bytes: usize,
}

impl Input {
    /// Lines shown before and after a match.
    fn around(&self) -> (usize, usize) {
        match self.output_mode {
            Mode::Content => (
                self.before.unwrap_or(self.context),
                self.after.unwrap_or(self.context),
            ),
            Mode::FilesWithMatches | Mode::Count => (0, 0),
        }
    }
}

/// What is printed, in rg's letters: `-n`, `-l`, `-c`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Content,
    FilesWithMatches,
    Count,
}

#[async_trait::async_trait]
impl Tool for Grep {
    fn name(&self) -> &str {
        "grep"
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
        blocking(move || {
            if input.raw {
                raw(&input, &context)
            } else {
                shaped(&input, &context)
            }
        })
        .await
    }
}

/// For a reader: matches as a list, output within the limits of a tool.
fn shaped(input: &Input, context: &ToolContext) -> Verdict {
    let (report, output, broken) = match run(input, context, Capped::default()) {
        Ok(done) => done,
        Err(verdict) => return verdict,
    };
    let mut result = totals(&report);
    let truncated = output.is_cut() || report.limited || report.matches_cut;
    result.insert("truncated".to_owned(), truncated.into());
    result.insert("output".to_owned(), output.into_text().into());
    let found = match input.output_mode {
        Mode::Content => ("matches", json!(report.matches)),
        Mode::FilesWithMatches => ("files", json!(report.files)),
        Mode::Count => ("counts", json!(report.counts)),
    };
    result.insert(found.0.to_owned(), found.1);
    settle(broken, input, result.into())
}

/// For a program that merges: the whole output and totals.
fn raw(input: &Input, context: &ToolContext) -> Verdict {
    let max = input.max_output_bytes;
    let (report, output, broken) = match run(input, context, Limited::new(max)) {
        Ok(done) => done,
        Err(verdict) => return verdict,
    };
    let mut result = totals(&report);
    let (name, text) = match String::from_utf8(output.into_bytes()) {
        Ok(text) => ("output", text),
        Err(e) => {
            let engine = base64::engine::general_purpose::STANDARD;
            ("output_base64", engine.encode(e.as_bytes()))
        }
    };
    result.insert(name.to_owned(), text.into());
    settle(broken, input, result.into())
}

fn totals(report: &Report) -> Map<String, Value> {
    let totals = json!({
        "files_searched": report.files_searched,
        "bytes_searched": report.bytes_searched,
        "files_matched": report.files_matched,
        "matched_lines": report.matched_lines,
        "errors": report.errors,
    });
    match totals {
        Value::Object(totals) => totals,
        _ => Map::new(),
    }
}

fn settle(broken: Option<Broken>, input: &Input, result: Value) -> Verdict {
    match broken {
        None => Verdict::success(result),
        Some(Broken::Stopped(reason)) => stopped(reason, result),
        Some(Broken::TooLong) => failed(format!(
            "the output is over {} bytes; search fewer files or raise max_output_bytes",
            input.max_output_bytes
        )),
    }
}

/// Searches and prints to `output`; the third is set when the search broke off.
fn run<W: Write>(
    input: &Input,
    context: &ToolContext,
    output: W,
) -> Result<(Report, W, Option<Broken>), Verdict> {
    if let Some(paths) = &input.paths {
        let mut search = Search::new(input, context, output, false)?;
        let ended = search.listed(paths);
        return Ok(search.finish(ended));
    }
    let walk = walk(context.workspace(), &input.scope).map_err(failed)?;
    let mut walk = walk.peekable();
    // Of one file that is named, rg shows no path, and looks into it even if it is binary.
    let named = matches!(walk.peek(), Some(Ok(found)) if found.named);
    let mut search = Search::new(input, context, output, named)?;
    let ended = search.found(walk);
    Ok(search.finish(ended))
}

#[cfg(test)]
#[path = "grep_tests.rs"]
mod tests;
