//! Counts and lists the matches that pass on their way to rg's printer.

use std::io;
use std::path::Path;

use grep_searcher::{Searcher, Sink, SinkContext, SinkFinish, SinkMatch};
use serde_json::{Value, json};

use super::super::output::shorten;

/// Bytes of text in the list of matches; more is counted and not listed.
const MAX_LISTED: usize = 100 * 1024;
/// Bytes of a line in that list.
const MAX_LINE: usize = 2_000;

/// What was seen so far, over all files.
pub(super) struct Watch {
    /// Matching lines.
    pub(super) lines: u64,
    pub(super) matches: Vec<Value>,
    pub(super) matches_cut: bool,
    listed: bool,
    room: usize,
    limit: Option<u64>,
}

impl Watch {
    /// Lists matches if `listed`; ends the search after `limit` matching lines.
    pub(super) fn new(listed: bool, limit: Option<u64>) -> Self {
        Self {
            lines: 0,
            matches: Vec::new(),
            matches_cut: false,
            listed,
            room: MAX_LISTED,
            limit,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.lines >= limit)
    }

    /// A sink that tells this what passes to `sink` from the file `path`.
    pub(super) fn over<'a, S>(&'a mut self, sink: &'a mut S, path: &'a Path) -> Watched<'a, S> {
        Watched {
            watch: self,
            sink,
            path,
        }
    }

    fn list(&mut self, path: &Path, found: &SinkMatch<'_>) {
        let line = found.bytes();
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let (text, cut) = shorten(line, MAX_LINE);
        let path = path.to_string_lossy();
        let size = text.len() + path.len();
        if size > self.room {
            self.room = 0;
            self.matches_cut = true;
            return;
        }
        self.room -= size;
        self.matches_cut |= cut > 0;
        let line = found.line_number();
        self.matches
            .push(json!({ "path": path, "line": line, "text": text }));
    }
}

/// One file's matches on their way.
pub(super) struct Watched<'a, S> {
    watch: &'a mut Watch,
    sink: &'a mut S,
    path: &'a Path,
}

impl<S: Sink<Error = io::Error>> Sink for Watched<'_, S> {
    type Error = io::Error;

    fn matched(&mut self, searcher: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        // The lines after the last match are its context: they may still come.
        if self.watch.is_full() {
            return Ok(false);
        }
        let more = self.sink.matched(searcher, found)?;
        self.watch.lines += 1;
        if more && self.watch.listed {
            self.watch.list(self.path, found);
        }
        Ok(more)
    }

    fn context(&mut self, searcher: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        self.sink.context(searcher, context)
    }

    fn context_break(&mut self, searcher: &Searcher) -> io::Result<bool> {
        self.sink.context_break(searcher)
    }

    fn binary_data(&mut self, searcher: &Searcher, offset: u64) -> io::Result<bool> {
        self.sink.binary_data(searcher, offset)
    }

    fn begin(&mut self, searcher: &Searcher) -> io::Result<bool> {
        self.sink.begin(searcher)
    }

    fn finish(&mut self, searcher: &Searcher, finish: &SinkFinish) -> io::Result<()> {
        self.sink.finish(searcher, finish)
    }
}
