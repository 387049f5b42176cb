//! How a task ended, and why it failed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a task has no success. Part of a result; absent when the tool itself ran and failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The deadline passed before the result.
    TimedOut,
    /// Somebody cancelled the task.
    Cancelled,
    /// A `once` task started, and nobody knows how far it came.
    Unknown,
    /// The attempts are used up, or the task cannot be done; a copy is in the dead letters.
    DeadLettered,
    /// No tool of this name on the worker.
    UnknownCommand,
    /// The tool refused its input.
    InvalidInput,
    /// The worker's policy refused the task.
    Refused,
    /// A kind that this version does not know.
    #[serde(other)]
    Other,
}

/// How a task ended. Each task has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The tool succeeded.
    Completed,
    /// The tool ran, or its input was looked at, and it failed.
    Failed,
    /// The deadline passed first.
    TimedOut,
    /// Cancelled.
    Cancelled,
    /// Started once, and nobody knows how far it came.
    Unknown,
    /// Given up; kept among the dead letters.
    DeadLettered,
}

impl Outcome {
    /// The outcome that a result's two fields mean.
    #[must_use]
    pub fn of(success: bool, kind: Option<ErrorKind>) -> Self {
        match kind {
            _ if success => Self::Completed,
            Some(ErrorKind::TimedOut) => Self::TimedOut,
            Some(ErrorKind::Cancelled) => Self::Cancelled,
            Some(ErrorKind::Unknown) => Self::Unknown,
            Some(ErrorKind::DeadLettered) => Self::DeadLettered,
            _ => Self::Failed,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Unknown => "unknown",
            Self::DeadLettered => "dead-lettered",
        })
    }
}
