//! Holds the beginning and the end of an output of any length, in bounded memory.

use std::collections::VecDeque;
use std::io;

/// Kept from the beginning of a tool's output, in bytes.
pub const HEAD: usize = 64 * 1024;
/// Kept from its end, in bytes.
pub const TAIL: usize = 36 * 1024;

/// An output of which at most `head` first and `tail` last bytes are kept.
#[derive(Debug)]
pub struct Capped {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    max_head: usize,
    max_tail: usize,
    total: u64,
}

impl Default for Capped {
    fn default() -> Self {
        Self::new(HEAD, TAIL)
    }
}

impl Capped {
    /// Nothing yet; keeps at most `head` first and `tail` last bytes.
    #[must_use]
    pub fn new(head: usize, tail: usize) -> Self {
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            max_head: head,
            max_tail: tail,
            total: 0,
        }
    }

    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        self.total += piece.len() as u64;
        let room = self.max_head - self.head.len();
        let (first, rest) = piece.split_at(room.min(piece.len()));
        self.head.extend_from_slice(first);
        // Of a piece longer than the tail, only its end can stay.
        let rest = &rest[rest.len().saturating_sub(self.max_tail)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(self.max_tail);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    /// How many bytes were taken and are not kept.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// Whether anything was lost.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.lost() > 0
    }

    /// What is kept, with a line that says what was cut. Bytes that are no UTF-8 become U+FFFD; a
    /// character that the cut goes through is left out.
    #[must_use]
    pub fn into_text(mut self) -> String {
        let lost = self.lost();
        let tail = self.tail.make_contiguous();
        if lost == 0 {
            self.head.extend_from_slice(tail);
            return lossy(self.head);
        }
        let head = lossy(without_broken_end(&self.head).to_vec());
        let tail = lossy(without_broken_start(tail).to_vec());
        format!("{head}\n[... {lost} bytes cut here ...]\n{tail}")
    }
}

impl io::Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.push(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `text` within the limits of a tool's output.
#[must_use]
pub fn capped(text: String) -> String {
    if text.len() <= HEAD + TAIL {
        return text;
    }
    let mut output = Capped::default();
    output.push(text.as_bytes());
    output.into_text()
}

/// `bytes` as text, without a copy when they are UTF-8.
#[must_use]
pub fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// At most `max` bytes of `line`, cut between characters, and how many were cut.
#[must_use]
pub fn shorten(line: &[u8], max: usize) -> (String, usize) {
    if line.len() <= max {
        return (String::from_utf8_lossy(line).into_owned(), 0);
    }
    let kept = without_broken_end(&line[..max]);
    (
        String::from_utf8_lossy(kept).into_owned(),
        line.len() - kept.len(),
    )
}

/// `bytes` up to the last complete character.
fn without_broken_end(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(last(bytes, 4)) {
        Ok(_) => bytes,
        Err(_) => {
            let start = bytes.iter().rposition(|b| !is_continuation(*b));
            let start = start.unwrap_or(bytes.len());
            match std::str::from_utf8(&bytes[start..]) {
                // `None`: the character needs more bytes than there are.
                Err(e) if e.error_len().is_none() => &bytes[..start],
                _ => bytes,
            }
        }
    }
}

/// `bytes` from the first byte that can begin a character; text that is no UTF-8 stays whole.
fn without_broken_start(bytes: &[u8]) -> &[u8] {
    let broken = bytes.iter().take_while(|b| is_continuation(**b)).count();
    if broken < 4 { &bytes[broken..] } else { bytes }
}

fn last(bytes: &[u8], count: usize) -> &[u8] {
    &bytes[bytes.len().saturating_sub(count)..]
}

fn is_continuation(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_output_is_kept_whole() {
        let mut output = Capped::new(4, 3);
        output.push(b"abcdefg");
        assert!(!output.is_cut());
        assert_eq!(output.into_text(), "abcdefg");
    }

    #[test]
    fn long_output_keeps_both_ends_and_says_what_is_gone() {
        let mut output = Capped::new(4, 3);
        for piece in ["abc", "def", "ghijkl", "m"] {
            output.push(piece.as_bytes());
        }
        let text = output.into_text();
        assert_eq!(text, "abcd\n[... 6 bytes cut here ...]\nklm");
    }

    #[test]
    fn a_cut_through_a_character_leaves_no_broken_one() {
        let mut output = Capped::new(4, 4);
        output.push("aéäöü€ß€".as_bytes());
        let text = output.into_text();
        assert!(!text.contains('\u{fffd}'), "{text}");
        assert!(text.starts_with("aé\n") && text.ends_with("\n€"), "{text}");
    }

    proptest! {
        #[test]
        fn any_split_into_pieces_gives_the_same_text(
            text in "[a-zé€🦀]{0,60}", head in 0_usize..20, tail in 0_usize..20, step in 1_usize..9,
        ) {
            let mut whole = Capped::new(head, tail);
            whole.push(text.as_bytes());
            let mut pieces = Capped::new(head, tail);
            text.as_bytes().chunks(step).for_each(|piece| pieces.push(piece));
            prop_assert_eq!(whole.lost(), pieces.lost());
            let whole = whole.into_text();
            let broken = whole.contains(char::REPLACEMENT_CHARACTER);
            prop_assert!(!broken);
            prop_assert_eq!(whole, pieces.into_text());
        }
    }
}
