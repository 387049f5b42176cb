//! What stands before `:::` is the command, what follows are its arguments.

/// A command and where its arguments come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The command, words joined by spaces.
    pub(crate) command: String,
    /// The arguments; none when they come from standard input, one a line.
    pub(crate) arguments: Option<Vec<String>>,
}

/// A command line that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    /// There is nothing before `:::`.
    #[error("no command before ':::': write a3s-coordinator map 'COMMAND {{}}' ::: ARG...")]
    NoCommand,
    /// A second list of arguments.
    #[error("':::' stands twice: only one list of arguments is supported")]
    TwoLists,
}

impl Line {
    /// Reads the words of a command line.
    pub(crate) fn read(words: &[String]) -> Result<Self, LineError> {
        let mut parts = words.split(|word| word == ":::");
        let command = parts.next().unwrap_or_default().join(" ");
        let arguments = parts.next().map(<[String]>::to_vec);
        if parts.next().is_some() {
            return Err(LineError::TwoLists);
        }
        if command.trim().is_empty() {
            return Err(LineError::NoCommand);
        }
        Ok(Self { command, arguments })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<Line, LineError> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Line::read(&words)
    }

    #[test]
    fn arguments_follow_the_colons_or_come_from_standard_input() {
        let line = read(&["wc", "-l", "{}", ":::", "a b", "c"]).expect("a line");
        assert_eq!(line.command, "wc -l {}");
        assert_eq!(line.arguments, Some(vec!["a b".to_owned(), "c".to_owned()]));
        let line = read(&["wc -l {}"]).expect("a line");
        assert_eq!(line.arguments, None);
        let line = read(&["true", ":::"]).expect("a line");
        assert_eq!(line.arguments, Some(Vec::new()));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        assert_eq!(read(&[":::", "a"]), Err(LineError::NoCommand));
        assert_eq!(
            read(&["x", ":::", "a", ":::", "b"]),
            Err(LineError::TwoLists)
        );
    }
}
