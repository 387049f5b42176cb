//! Reads a file for the searcher, until the task must stop: a small one in a single call.
//!
//! The searcher asks for the first three bytes, which may be a byte order mark, then for what its
//! buffer holds, then for the end. For a file of a few kilobytes these calls to the system cost
//! more than looking through it.

use std::io::{self, Read};
use std::ops::Range;

use crate::context::ToolContext;

/// How much of the beginning of a file is read at once: what the searcher's own buffer holds.
const ROOM: usize = 64 * 1024;

/// Where the beginning of a file waits for the searcher; one for all files, one after the other.
#[derive(Debug)]
pub(super) struct Ahead(Box<[u8]>);

impl Default for Ahead {
    fn default() -> Self {
        Self(vec![0; ROOM].into())
    }
}

impl Ahead {
    /// A reader of `file`, which had `size` bytes when it was opened.
    pub(super) fn over<'a, R: Read>(
        &'a mut self,
        file: R,
        size: u64,
        context: &'a ToolContext,
    ) -> Reading<'a, R> {
        Reading {
            ahead: &mut self.0,
            waiting: 0..0,
            source: Source {
                file,
                size,
                read: 0,
                ended: false,
                context,
            },
        }
    }
}

/// A file on its way to the searcher.
pub(super) struct Reading<'a, R> {
    ahead: &'a mut [u8],
    /// What of `ahead` was not handed on yet.
    waiting: Range<usize>,
    source: Source<'a, R>,
}

impl<R: Read> Read for Reading<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.source.read == 0 {
            self.waiting = 0..self.source.read(self.ahead)?;
        }
        if self.waiting.is_empty() {
            return self.source.read(buffer);
        }
        let read = (&self.ahead[self.waiting.clone()]).read(buffer)?;
        self.waiting.start += read;
        Ok(read)
    }
}

/// A file that knows where it ends, and ends in an error once the task must stop, so that one huge
/// file can be left too.
struct Source<'a, R> {
    file: R,
    size: u64,
    /// How much was read so far.
    read: u64,
    ended: bool,
    context: &'a ToolContext,
}

impl<R: Read> Source<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.context.is_stopped() {
            return Err(io::Error::other("stopped"));
        }
        if self.ended {
            return Ok(0);
        }
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        // Neither alone would do: a file can grow while it is read, and what the kernel makes up
        // (below /proc) comes in pieces and has no size.
        self.ended = read < buffer.len() && self.read == self.size;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    /// Gives at most `piece` bytes a call, and counts the calls.
    struct Counted<'a> {
        rest: &'a [u8],
        piece: usize,
        calls: usize,
    }

    impl Read for Counted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.calls += 1;
            let most = self.piece.min(buffer.len());
            self.rest.read(&mut buffer[..most])
        }
    }

    /// What a searcher gets of `text`, and in how many calls.
    fn read(text: &[u8], size: usize, piece: usize) -> (Vec<u8>, usize) {
        let (harness, mut ahead) = (Harness::new(), Ahead::default());
        let (rest, calls) = (text, 0);
        let file = Counted { rest, piece, calls };
        let context = harness.context(u64::MAX);
        let mut reading = ahead.over(file, size as u64, &context);
        let mut got = vec![0; 3];
        let first = reading.read(&mut got).expect("it can be read");
        got.truncate(first);
        reading.read_to_end(&mut got).expect("it can be read");
        (got, reading.source.file.calls)
    }

    #[test]
    fn a_small_file_is_read_in_one_call() {
        assert_eq!(read(b"0123456789", 10, ROOM), (b"0123456789".to_vec(), 1));
        assert_eq!(read(b"", 0, ROOM).0, b"");
    }

    #[test]
    fn a_file_is_read_whole_also_when_it_grows_shrinks_or_has_no_size() {
        let long = vec![b'x'; ROOM * 2 + 7];
        for text in [&long[..], &long[..ROOM], b"0123456789", b"01"] {
            for size in [0, 2, 10, ROOM, text.len(), text.len() + 1] {
                assert!(read(text, size, usize::MAX).0 == text, "{size}");
            }
        }
    }

    #[test]
    fn a_file_that_comes_in_pieces_is_read_whole() {
        for (size, piece) in [(0, 2), (10, 2), (10, 7), (20, 3)] {
            assert_eq!(read(b"0123456789", size, piece).0, b"0123456789");
        }
    }
}
