//! Why a verb could not do its work, and the exit status that says so.

use std::fmt;
use std::io;

use a3s_shared::protocol::Outcome;

/// Nothing to report.
pub(crate) const DONE: u8 = 0;
/// A task failed; in `search`, nothing was found.
pub(crate) const FAILED: u8 = 1;
/// The command line, or a file it names, makes no sense.
pub(crate) const USAGE: u8 = 2;
/// The broker, or a worker process, is not there or refuses.
pub(crate) const BROKER: u8 = 3;
/// The deadline passed.
pub(crate) const TIMED_OUT: u8 = 4;
/// The task was given up, or nobody knows how far it came.
pub(crate) const LOST: u8 = 5;
/// Ended by Ctrl-C, as shells say it.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit status of `submit`.
pub(crate) fn status_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => DONE,
        Outcome::Failed | Outcome::Cancelled => FAILED,
        Outcome::TimedOut => TIMED_OUT,
        Outcome::Unknown | Outcome::DeadLettered => LOST,
    }
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was typed.
    Usage,
    /// The way to the workers.
    Broker,
    /// Our own files and output.
    Output,
    /// Nobody reads our output any more. No error: `| head` does that.
    ClosedOutput,
}

/// An error of a verb: a sentence with the next step in it.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    text: String,
}

impl Failure {
    /// What was typed makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        let text = text.into();
        let kind = Kind::Usage;
        Self { kind, text }
    }

    /// The workers cannot be reached.
    pub(crate) fn broker(error: impl fmt::Display) -> Self {
        let text = error.to_string();
        let kind = Kind::Broker;
        Self { kind, text }
    }

    /// Output cannot be written.
    pub(crate) fn output(what: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::BrokenPipe => Kind::ClosedOutput,
            _ => Kind::Output,
        };
        let text = format!("cannot write {what}: {error}");
        Self { kind, text }
    }

    /// What kind it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The exit status, for verbs without an own convention.
    pub(crate) fn status(&self) -> u8 {
        match self.kind {
            Kind::Usage => USAGE,
            Kind::Broker => BROKER,
            Kind::Output => FAILED,
            Kind::ClosedOutput => DONE,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error() {
        let error = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::output("output", &error).status(), DONE);
        let error = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(Failure::output("output", &error).status(), FAILED);
    }

    #[test]
    fn each_outcome_has_the_documented_status() {
        let outcomes = [
            (Outcome::Completed, 0),
            (Outcome::Failed, 1),
            (Outcome::Cancelled, 1),
            (Outcome::TimedOut, 4),
            (Outcome::DeadLettered, 5),
            (Outcome::Unknown, 5),
        ];
        for (outcome, status) in outcomes {
            assert_eq!(status_of(outcome), status, "{outcome}");
        }
    }
}
