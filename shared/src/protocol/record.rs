//! What is remembered of a task beside its message: who claimed it, and how attempts ended.
//!
//! One record a task, on the claim subject, written by compare-and-set. Tasks that run through at
//! the first attempt and are `idempotent` never have one, so the common path costs nothing.

use serde::{Deserialize, Serialize};

/// The right to start a `once` task, taken before its tool sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Who took it.
    pub worker_id: String,
    /// For which attempt, from 1.
    pub attempt: u32,
    /// When, in the broker's time, milliseconds since 1970.
    pub at_ms: u64,
}

/// How an attempt that brought no result ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptNote {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// Who tried; empty when a worker died without a word.
    pub worker_id: String,
    /// When it ended, in the broker's time, milliseconds since 1970.
    pub at_ms: u64,
    /// What was wrong.
    pub error: String,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Set while a `once` task is running, and for ever when its worker died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Deliveries that were given back unharmed (a drain, a surplus); they are no attempts.
    #[serde(default)]
    pub handed_back: u64,
    /// What is known of earlier attempts, oldest first.
    #[serde(default)]
    pub attempts: Vec<AttemptNote>,
}

impl TaskRecord {
    /// Which attempt the broker's delivery number `delivered` (from 1) is: later than every attempt
    /// that is noted. A server that was killed counts on from what it had on disk, which can be
    /// less than it had delivered; notes are confirmed.
    #[must_use]
    pub fn attempt(&self, delivered: u64) -> u32 {
        let counted = delivered.saturating_sub(self.handed_back).max(1);
        let counted = u32::try_from(counted).unwrap_or(u32::MAX);
        let noted = self.attempts.iter().map(|note| note.attempt).max();
        counted.max(noted.unwrap_or(0).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_back_is_no_attempt() {
        let record = TaskRecord {
            handed_back: 2,
            ..TaskRecord::default()
        };
        assert_eq!(record.attempt(3), 1);
        assert_eq!(record.attempt(4), 2);
        assert_eq!(TaskRecord::default().attempt(1), 1);
    }

    #[test]
    fn a_delivery_that_the_broker_forgot_is_an_attempt_all_the_same() {
        let note = |attempt| AttemptNote {
            attempt,
            worker_id: "w".to_owned(),
            at_ms: 1,
            error: "busy".to_owned(),
        };
        let record = TaskRecord {
            attempts: vec![note(1), note(2)],
            ..TaskRecord::default()
        };
        assert_eq!(
            record.attempt(2),
            3,
            "it was the second before the server was killed"
        );
        assert_eq!(record.attempt(3), 3);
        assert_eq!(record.attempt(4), 4, "one of them left no word");
    }
}
