//! A task that was given up, whole, so that it can be replayed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AttemptNote, SessionLane};

/// The body of a dead letter (always JSON, so that every tool can read it).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The task; made from stream and sequence when its body could not be read.
    pub task_id: String,
    /// Its session.
    pub session_id: String,
    /// Its lane.
    pub lane: SessionLane,
    /// Its tool; empty when its body could not be read.
    pub command_type: String,
    /// Why it was given up: the last error.
    pub error: String,
    /// How many attempts were started.
    pub attempts: u32,
    /// When it was given up, in the broker's time, milliseconds since 1970.
    pub failed_at: u64,
    /// What is known of each attempt, oldest first.
    #[serde(default)]
    pub history: Vec<AttemptNote>,
    /// The tool's input, for reading; `null` when the body could not be read or is large.
    #[serde(default)]
    pub payload: Value,
    /// The subject that the task was published to; a replay goes there.
    pub subject: String,
    /// The headers of the task message.
    pub headers: Vec<(String, String)>,
    /// The body of the task message as it was, base64.
    pub body: String,
}

impl DeadLetter {
    /// A header of the task message.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The headers of the task message, as [`TaskHeaders::read`](super::TaskHeaders::read) reads
    /// them: of several with one name the first one counts.
    pub fn header_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let pairs = self.headers.iter().rev();
        pairs.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
