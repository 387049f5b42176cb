//! The lines of a file, each bounded: a line without an end must not take the memory.

use std::io::{self, BufRead, Read};

/// The longest line, in bytes. A body this large would not pass the broker either.
pub(crate) const MAX_LINE: usize = 16 * 1024 * 1024;

/// Reads one line into `line`, without its end. False at the end of the input; an inner error is
/// a line longer than `limit` bytes, which is skipped.
///
/// # Errors
/// When the input cannot be read.
pub(crate) fn read_line(
    input: &mut impl BufRead,
    line: &mut Vec<u8>,
    limit: usize,
) -> io::Result<Option<Result<(), String>>> {
    line.clear();
    let taken = input.take(limit as u64 + 1).read_until(b'\n', line)?;
    if taken == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > limit {
        line.clear();
        input.skip_until(b'\n')?;
        return Ok(Some(Err(format!("longer than {limit} bytes"))));
    }
    Ok(Some(Ok(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut input: &[u8]) -> Vec<String> {
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while let Some(read) = read_line(&mut input, &mut line, 5).expect("memory") {
            lines.push(match read {
                Ok(()) => String::from_utf8(line.clone()).expect("text"),
                Err(error) => error,
            });
        }
        lines
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let read = lines(b"12345\n1234567890\nab\n\nend");
        assert_eq!(read, ["12345", "longer than 5 bytes", "ab", "", "end"]);
        assert_eq!(lines(b"123456"), ["longer than 5 bytes"]);
        assert!(lines(b"").is_empty());
    }
}
