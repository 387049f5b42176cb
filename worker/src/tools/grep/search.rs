//! The search itself: one pattern over many files, one after the other.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use serde_json::{Value, json};

use super::super::walk::Found;
use super::ahead::Ahead;
use super::printer::Printer;
use super::sink::Watch;
use super::{Input, Mode};
use crate::context::{StopReason, ToolContext};
use crate::tool::Verdict;
use crate::workspace::PathError;

/// Why a search ended before its last file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The task had to stop.
    Stopped(StopReason),
    /// It printed more than a raw output may have.
    TooLong,
}

/// What was found, beside what was printed.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) files_searched: u64,
    /// The sizes of those files.
    pub(super) bytes_searched: u64,
    pub(super) files_matched: u64,
    pub(super) matched_lines: u64,
    /// `path: reason` of each file that could not be searched.
    pub(super) errors: Vec<String>,
    /// Whether the search ended at its limit.
    pub(super) limited: bool,
    pub(super) matches: Vec<Value>,
    /// Whether `matches` is shorter than what was found.
    pub(super) matches_cut: bool,
    pub(super) files: Vec<String>,
    pub(super) counts: Vec<Value>,
}

pub(super) struct Search<'a, W: Write> {
    input: &'a Input,
    context: &'a ToolContext,
    matcher: RegexMatcher,
    searcher: Searcher,
    printer: Printer<W>,
    watch: Watch,
    ahead: Ahead,
    report: Report,
}

impl<'a, W: Write> Search<'a, W> {
    /// A search that prints to `output`; `named` is one of a single file that was named.
    ///
    /// # Errors
    /// A verdict with rg's message when the pattern is malformed.
    pub(super) fn new(
        input: &'a Input,
        context: &'a ToolContext,
        output: W,
        named: bool,
    ) -> Result<Self, Verdict> {
        let matcher = matcher(input).map_err(|e| Verdict::invalid_input(e.to_string()))?;
        let content = input.output_mode == Mode::Content;
        Ok(Self {
            input,
            context,
            matcher,
            searcher: searcher(input, named),
            printer: Printer::new(input, output, !named),
            watch: Watch::new(content && !input.raw, input.limit.filter(|_| content)),
            ahead: Ahead::default(),
            report: Report::default(),
        })
    }

    /// Searches what a walk finds.
    pub(super) fn found(
        &mut self,
        walk: impl Iterator<Item = Result<Found, String>>,
    ) -> Result<(), Broken> {
        for found in walk {
            match found {
                Ok(found) => self.file(&found.shown, found.open(self.context.workspace()))?,
                Err(e) => self.report.errors.push(e),
            }
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// Searches a list of files, as if a walk had found them.
    pub(super) fn listed(&mut self, paths: &[String]) -> Result<(), Broken> {
        let workspace = self.context.workspace();
        for path in paths {
            let file = workspace.resolve(path);
            let file = file.and_then(|path| workspace.open_sized(&path));
            self.file(Path::new(path), file)?;
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// What was found and what was printed by a search that ended so.
    pub(super) fn finish(mut self, ended: Result<(), Broken>) -> (Report, W, Option<Broken>) {
        self.report.matched_lines = self.watch.lines;
        self.report.matches = self.watch.matches;
        self.report.matches_cut = self.watch.matches_cut;
        (self.report, self.printer.into_output(), ended.err())
    }

    /// Searches one file; one that cannot be read is an error in the report.
    fn file(&mut self, shown: &Path, file: Result<(File, u64), PathError>) -> Result<(), Broken> {
        self.go_on()?;
        let (file, size) = match file {
            Ok(opened) => opened,
            Err(e) => {
                self.report.errors.push(e.to_string());
                return Ok(());
            }
        };
        self.report.files_searched += 1;
        self.report.bytes_searched += size;
        let before = self.watch.lines;
        let context = self.context;
        let file = (shown, self.ahead.over(file, size, context));
        let (searcher, matcher) = (&mut self.searcher, &self.matcher);
        match self.printer.file(searcher, matcher, file, &mut self.watch) {
            Ok(true) => self.note(shown, self.watch.lines - before),
            // Seen before a byte 0 for which rg takes the whole file back.
            Ok(false) => self.watch.lines = before,
            Err(e) if e.kind() == io::ErrorKind::QuotaExceeded => return Err(Broken::TooLong),
            Err(e) => {
                self.go_on()?;
                let error = format!("{}: {e}", shown.display());
                self.report.errors.push(error);
            }
        }
        Ok(())
    }

    fn note(&mut self, shown: &Path, lines: u64) {
        self.report.files_matched += 1;
        if self.input.raw {
            return;
        }
        let path = shown.to_string_lossy();
        match self.input.output_mode {
            Mode::Content => {}
            Mode::FilesWithMatches => self.report.files.push(path.into_owned()),
            Mode::Count => {
                let count = json!({ "path": path, "count": lines });
                self.report.counts.push(count);
            }
        }
    }

    fn go_on(&self) -> Result<(), Broken> {
        let reason = self.context.stop_reason();
        reason.map_or(Ok(()), |reason| Err(Broken::Stopped(reason)))
    }

    /// Whether the limit is reached: of lines in content mode, of files in the others.
    fn is_full(&mut self) -> bool {
        let full = match self.input.output_mode {
            Mode::Content => self.watch.is_full(),
            _ => self
                .input
                .limit
                .is_some_and(|max| self.report.files_matched >= max),
        };
        self.report.limited |= full;
        full
    }
}

/// As rg makes it without further options.
fn matcher(input: &Input) -> Result<RegexMatcher, grep_regex::Error> {
    RegexMatcherBuilder::new()
        .multi_line(true)
        .case_insensitive(input.ignore_case)
        .line_terminator(Some(b'\n'))
        .dot_matches_new_line(false)
        .ban_byte(Some(0))
        .build(&input.pattern)
}

/// As rg makes it; files that were found are left at a byte 0, one that was named is not.
fn searcher(input: &Input, named: bool) -> Searcher {
    let (before, after) = input.around();
    let binary = if named {
        BinaryDetection::convert(0)
    } else {
        BinaryDetection::quit(0)
    };
    SearcherBuilder::new()
        .line_number(true)
        .before_context(before)
        .after_context(after)
        .binary_detection(binary)
        .build()
}
