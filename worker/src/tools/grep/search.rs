//! The search itself: one pattern over many files, one after the other, printed as rg prints.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use grep_printer::{Standard, StandardBuilder, Summary, SummaryBuilder, SummaryKind};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use serde_json::{Value, json};
use termcolor::NoColor;

use super::super::walk::Found;
use super::sink::Watch;
use super::{Input, Mode};
use crate::context::{StopReason, ToolContext};
use crate::tool::Verdict;

/// Why a search ended before its last file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The task had to stop.
    Stopped(StopReason),
    /// It printed more than this many bytes.
    TooLong(usize),
}

/// What was found, beside what was printed.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) files_searched: u64,
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
    /// Made at the first file: whether paths are printed depends on how it was found.
    printer: Option<Printer<W>>,
    output: Option<W>,
    watch: Watch,
    report: Report,
}

enum Printer<W> {
    Lines(Standard<NoColor<W>>),
    Summary(Summary<NoColor<W>>),
}

impl<'a, W: Write> Search<'a, W> {
    /// A search that prints to `output`.
    ///
    /// # Errors
    /// A verdict with rg's message when the pattern is malformed.
    pub(super) fn new(
        input: &'a Input,
        context: &'a ToolContext,
        output: W,
    ) -> Result<Self, Verdict> {
        let matcher = matcher(input).map_err(|e| Verdict::invalid_input(e.to_string()))?;
        let listed = !input.raw && input.output_mode == Mode::Content;
        let limit = input.limit.filter(|_| input.output_mode == Mode::Content);
        Ok(Self {
            matcher,
            searcher: searcher(input),
            input,
            context,
            printer: None,
            output: Some(output),
            watch: Watch::new(listed, limit),
            report: Report::default(),
        })
    }

    /// Searches what a walk finds.
    pub(super) fn found(
        &mut self,
        walk: impl Iterator<Item = Result<Found, String>>,
    ) -> Result<(), Broken> {
        for found in walk {
            self.check()?;
            match found {
                Err(e) => self.report.errors.push(e),
                Ok(found) => {
                    let file = found.open(self.context.workspace());
                    let file = file.map_err(|e| e.to_string());
                    self.file(&found.shown, file, found.named)?;
                }
            }
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// Searches a list of files, as if a walk had found them.
    pub(super) fn named<'p>(&mut self, paths: impl Iterator<Item = &'p str>) -> Result<(), Broken> {
        let workspace = self.context.workspace().clone();
        for path in paths {
            self.check()?;
            let file = workspace.resolve(path);
            let file = file.and_then(|path| workspace.open_file(&path));
            self.file(Path::new(path), file.map_err(|e| e.to_string()), false)?;
            if self.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// What was found and what was printed.
    pub(super) fn finish(mut self) -> (Report, W) {
        self.report.matched_lines = self.watch.lines;
        self.report.matches = std::mem::take(&mut self.watch.matches);
        self.report.matches_cut = self.watch.matches_cut;
        let output = match (self.printer, self.output) {
            (Some(Printer::Lines(printer)), _) => printer.into_inner().into_inner(),
            (Some(Printer::Summary(printer)), _) => printer.into_inner().into_inner(),
            (None, Some(output)) => output,
            (None, None) => unreachable!("the output is taken only for a printer"),
        };
        (self.report, output)
    }

    fn check(&self) -> Result<(), Broken> {
        self.context
            .stop_reason()
            .map_or(Ok(()), |reason| Err(Broken::Stopped(reason)))
    }

    fn is_full(&mut self) -> bool {
        let files = self
            .input
            .limit
            .filter(|_| self.input.output_mode != Mode::Content);
        let full =
            self.watch.is_full() || files.is_some_and(|max| self.report.files_matched >= max);
        self.report.limited |= full;
        full
    }

    /// Searches one file. `named`: it was named and not found, so rg shows no path, and looks
    /// into it even if it is binary.
    fn file(
        &mut self,
        shown: &Path,
        file: Result<File, String>,
        named: bool,
    ) -> Result<(), Broken> {
        let file = match file {
            Ok(file) => file,
            Err(e) => {
                self.report.errors.push(e);
                return Ok(());
            }
        };
        self.report.files_searched += 1;
        let before = self.watch.lines;
        match self.print(shown, file, named) {
            Ok(true) => self.note(shown, self.watch.lines - before),
            // Seen before a byte 0 that makes rg take the whole file back.
            Ok(false) => self.watch.lines = before,
            Err(e) => {
                self.check()?;
                if e.kind() == io::ErrorKind::QuotaExceeded {
                    let max = self.input.max_output_bytes;
                    return Err(Broken::TooLong(max.unwrap_or(super::DEFAULT_MAX_OUTPUT)));
                }
                let error = format!("{}: {e}", shown.display());
                self.report.errors.push(error);
            }
        }
        Ok(())
    }

    fn note(&mut self, shown: &Path, lines: u64) {
        self.report.files_matched += 1;
        let path = shown.to_string_lossy();
        match self.input.output_mode {
            _ if self.input.raw => {}
            Mode::Content => {}
            Mode::FilesWithMatches => self.report.files.push(path.into_owned()),
            Mode::Count => {
                let count = json!({ "path": path, "count": lines });
                self.report.counts.push(count);
            }
        }
    }

    /// Whether rg would say that the file has a match.
    fn print(&mut self, shown: &Path, file: File, named: bool) -> io::Result<bool> {
        let binary = if named {
            BinaryDetection::convert(0)
        } else {
            BinaryDetection::quit(0)
        };
        self.searcher.set_binary_detection(binary);
        let (input, output) = (self.input, &mut self.output);
        let printer = match &mut self.printer {
            Some(printer) => printer,
            empty => match output.take() {
                Some(output) => empty.insert(printer(input, output, !named)),
                None => unreachable!("the output is taken only for a printer"),
            },
        };
        let file = Stoppable {
            file,
            context: self.context,
        };
        let (matcher, searcher) = (&self.matcher, &mut self.searcher);
        match printer {
            Printer::Lines(printer) => {
                let mut sink = printer.sink_with_path(matcher, shown);
                searcher.search_reader(matcher, file, self.watch.over(&mut sink, shown))?;
                Ok(sink.has_match())
            }
            Printer::Summary(printer) => {
                let mut sink = printer.sink_with_path(matcher, shown);
                searcher.search_reader(matcher, file, self.watch.over(&mut sink, shown))?;
                Ok(sink.has_match())
            }
        }
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

fn searcher(input: &Input) -> Searcher {
    let (before, after) = around(input);
    SearcherBuilder::new()
        .line_number(true)
        .before_context(before)
        .after_context(after)
        .build()
}

/// Lines shown before and after a match.
fn around(input: &Input) -> (usize, usize) {
    match input.output_mode {
        Mode::Content => (
            input.before.unwrap_or(input.context),
            input.after.unwrap_or(input.context),
        ),
        Mode::FilesWithMatches | Mode::Count => (0, 0),
    }
}

fn printer<W: Write>(input: &Input, output: W, paths: bool) -> Printer<W> {
    let kind = match input.output_mode {
        Mode::Content => {
            let apart = (around(input) != (0, 0)).then(|| b"--".to_vec());
            let mut builder = StandardBuilder::new();
            builder.heading(false).path(paths).separator_search(apart);
            return Printer::Lines(builder.build_no_color(output));
        }
        Mode::FilesWithMatches => SummaryKind::PathWithMatch,
        Mode::Count => SummaryKind::Count,
    };
    let mut builder = SummaryBuilder::new();
    builder.kind(kind).path(paths).exclude_zero(true);
    Printer::Summary(builder.build_no_color(output))
}

/// A file that ends in an error once the task must stop, so that one huge file can be left too.
struct Stoppable<'a> {
    file: File,
    context: &'a ToolContext,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.context.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        self.file.read(buffer)
    }
}

/// Output that is kept whole, or refused.
#[derive(Debug)]
pub(super) struct Limited {
    bytes: Vec<u8>,
    max: usize,
}

impl Limited {
    pub(super) fn new(max: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max,
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl Write for Limited {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > self.max {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
