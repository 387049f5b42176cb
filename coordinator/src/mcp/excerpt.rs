//! What is shown of a text that is too long for a context: both ends, a range of its lines, or those
//! that match. Pure.

use grep_matcher::Matcher as _;
use grep_regex::RegexMatcher;
use serde::Deserialize;

/// Which part of a text is wanted. Nothing said: from its first line on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub(super) struct Part {
    /// The first line, counted from 0.
    pub(super) offset: Option<usize>,
    /// How many lines at most.
    pub(super) limit: Option<usize>,
    /// Only lines that match this regular expression.
    pub(super) pattern: Option<String>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    /// It.
    pub(super) text: String,
    /// How many lines the whole text has.
    pub(super) lines: usize,
    /// The line to go on with; `None` at the end.
    pub(super) next: Option<usize>,
}

/// Both ends of a text, at most `max` bytes of it, and how many bytes are left out between them.
pub(super) fn ends(text: &str, max: usize) -> (String, usize) {
    if text.len() <= max {
        return (text.to_owned(), 0);
    }
    let head = line_end(text, floor(text, max / 3 * 2));
    let tail = line_start(text, ceil(text, text.len() - max / 3)).max(head);
    let left_out = tail - head;
    let (first, last) = (&text[..head], &text[tail..]);
    let newline = if first.ends_with('\n') { "" } else { "\n" };
    (
        format!("{first}{newline}[... {left_out} bytes left out here ...]\n{last}"),
        left_out,
    )
}

/// The wanted part, at most `max` bytes of it and at least one line. Lines that match a pattern are
/// shown with their numbers, from 0, so that what is around them can be asked for.
///
/// # Errors
/// When the pattern is no regular expression.
pub(super) fn part(text: &str, part: &Part, max: usize) -> Result<Shown, String> {
    let matcher = match &part.pattern {
        None => None,
        Some(pattern) => Some(RegexMatcher::new_line_matcher(pattern).map_err(|e| e.to_string())?),
    };
    let (first, limit) = (part.offset.unwrap_or(0), part.limit.unwrap_or(usize::MAX));
    let (mut shown, mut taken, mut next) = (String::new(), 0, None);
    for (number, line) in text.lines().enumerate().skip(first) {
        if let Some(matcher) = &matcher
            && !matcher.is_match(line.as_bytes()).unwrap_or(false)
        {
            continue;
        }
        if taken == limit || (taken > 0 && shown.len() + line.len() > max) {
            next = Some(number);
            break;
        }
        if matcher.is_some() {
            shown.push_str(&format!("{number}:"));
        }
        shown.push_str(&line[..floor(line, max)]);
        shown.push('\n');
        taken += 1;
    }
    Ok(Shown {
        text: shown,
        lines: text.lines().count(),
        next,
    })
}

/// The end of the last whole line before `at`; `at` itself when the line is very long.
fn line_end(text: &str, at: usize) -> usize {
    match text[..at].rfind('\n') {
        Some(newline) if at - newline < at / 2 => newline + 1,
        _ => at,
    }
}

/// The start of the first whole line after `at`; `at` itself when the line is very long.
fn line_start(text: &str, at: usize) -> usize {
    match text[at..].find('\n') {
        Some(newline) if newline < (text.len() - at) / 2 => at + newline + 1,
        _ => at,
    }
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn lines(count: usize) -> String {
        (0..count).fold(String::new(), |mut text, i| {
            let _ = writeln!(text, "line {i}");
            text
        })
    }

    #[test]
    fn a_short_text_is_shown_whole() {
        assert_eq!(ends("abc", 3), ("abc".to_owned(), 0));
    }

    #[test]
    fn both_ends_of_a_long_text_are_shown_in_whole_lines() {
        let text = lines(1_000);
        let (shown, left_out) = ends(&text, 300);
        assert!(shown.starts_with("line 0\n"), "{shown}");
        assert!(shown.ends_with("line 999\n"), "{shown}");
        assert!(shown.contains(&format!(
            "\n[... {left_out} bytes left out here ...]\nline "
        )));
        assert!(shown.len() < 400 && left_out > 8_000, "{left_out}");
    }

    #[test]
    fn a_range_says_where_to_go_on() {
        let wanted = Part {
            offset: Some(2),
            limit: Some(2),
            pattern: None,
        };
        let shown = part(&lines(5), &wanted, 1_000).expect("no pattern");
        assert_eq!(shown.text, "line 2\nline 3\n");
        assert_eq!((shown.lines, shown.next), (5, Some(4)));
        let shown = part(&lines(5), &Part::default(), 15).expect("no pattern");
        assert_eq!(
            (shown.text.as_str(), shown.next),
            ("line 0\nline 1\n", Some(2))
        );
    }

    #[test]
    fn matching_lines_are_shown_with_their_numbers() {
        let wanted = Part {
            pattern: Some("^line [13]$".to_owned()),
            ..Part::default()
        };
        let shown = part(&lines(5), &wanted, 1_000).expect("a regular expression");
        assert_eq!(
            (shown.text.as_str(), shown.next),
            ("1:line 1\n3:line 3\n", None)
        );
        let bad = Part {
            pattern: Some("(".to_owned()),
            ..Part::default()
        };
        assert!(part("x", &bad, 10).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it_and_nothing_is_lost_in_parts(text in "[aé\n]{0,200}", max in 1_usize..80) {
            let (shown, left_out) = ends(&text, max);
            prop_assert!(left_out > 0 || shown == text);
            let mut whole = String::new();
            let mut wanted = Part::default();
            loop {
                let shown = part(&text, &wanted, 200).expect("no pattern");
                whole.push_str(&shown.text);
                let Some(next) = shown.next else { break };
                wanted.offset = Some(next);
            }
            let lines: Vec<&str> = text.lines().collect();
            let parts: Vec<&str> = whole.lines().collect();
            prop_assert_eq!(parts, lines);
        }
    }
}
