//! Why the work could not be done, and the exit status that says so.

use std::fmt::Display;

/// The agent answered.
pub(crate) const DONE: u8 = 0;
/// The agent failed.
pub(crate) const FAILED: u8 = 1;
/// The command line, or a file that it names, makes no sense.
const USAGE: u8 = 2;
/// The broker or a local worker is not there or refuses.
const BROKER: u8 = 3;
/// Ended by Ctrl-C, as shells say it.
pub(crate) const INTERRUPTED: u8 = 130;

/// A sentence with the next step in it, and its exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    fn new(status: u8, text: impl Display) -> Self {
        let text = text.to_string();
        Self { status, text }
    }

    /// What was typed, or the configuration, makes no sense.
    pub(crate) fn usage(text: impl Display) -> Self {
        Self::new(USAGE, text)
    }

    /// The workers cannot be reached.
    pub(crate) fn broker(text: impl Display) -> Self {
        Self::new(BROKER, text)
    }

    /// The agent does not work.
    pub(crate) fn agent(text: impl Display) -> Self {
        Self::new(FAILED, text)
    }

    /// Says it; the exit status.
    pub(crate) fn report(&self) -> u8 {
        eprintln!("error: {}", self.text);
        self.status
    }
}
