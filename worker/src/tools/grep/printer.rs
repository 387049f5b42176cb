//! Prints what rg prints: lines, paths or counts, without colours and headings.

use std::io::{self, Write};
use std::path::Path;

use grep_matcher::Matcher;
use grep_printer::{Standard, StandardBuilder, Summary, SummaryBuilder, SummaryKind};
use grep_searcher::Searcher;
use termcolor::NoColor;

use super::sink::Watch;
use super::{Input, Mode};

/// rg's printer for one search. Over all its files it is one, for it prints a separator before
/// each but the first that has something to show.
pub(super) enum Printer<W: Write> {
    Lines(Standard<NoColor<W>>),
    Summary(Summary<NoColor<W>>),
}

impl<W: Write> Printer<W> {
    /// `paths`: whether each line begins with its file's path.
    pub(super) fn new(input: &Input, output: W, paths: bool) -> Self {
        let kind = match input.output_mode {
            Mode::Content => {
                let apart = (input.around() != (0, 0)).then(|| b"--".to_vec());
                let mut builder = StandardBuilder::new();
                builder.heading(false).path(paths).separator_search(apart);
                return Self::Lines(builder.build_no_color(output));
            }
            Mode::FilesWithMatches => SummaryKind::PathWithMatch,
            Mode::Count => SummaryKind::Count,
        };
        let mut builder = SummaryBuilder::new();
        builder.kind(kind).path(paths).exclude_zero(true);
        Self::Summary(builder.build_no_color(output))
    }

    /// Searches and prints one file, and says whether rg would say that it has a match.
    pub(super) fn file(
        &mut self,
        searcher: &mut Searcher,
        matcher: &impl Matcher,
        (shown, file): (&Path, impl io::Read),
        watch: &mut Watch,
    ) -> io::Result<bool> {
        match self {
            Self::Lines(printer) => {
                let mut sink = printer.sink_with_path(matcher, shown);
                searcher.search_reader(matcher, file, watch.over(&mut sink, shown))?;
                Ok(sink.has_match())
            }
            Self::Summary(printer) => {
                let mut sink = printer.sink_with_path(matcher, shown);
                searcher.search_reader(matcher, file, watch.over(&mut sink, shown))?;
                Ok(sink.has_match())
            }
        }
    }

    pub(super) fn into_output(self) -> W {
        match self {
            Self::Lines(printer) => printer.into_inner().into_inner(),
            Self::Summary(printer) => printer.into_inner().into_inner(),
        }
    }
}

/// Output that is kept whole, or refused with `QuotaExceeded`.
#[derive(Debug)]
pub(super) struct Limited {
    bytes: Vec<u8>,
    max: usize,
}

impl Limited {
    /// Takes up to `max` bytes.
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
