//! What a task is told that the policy stopped.

use std::fmt;

/// A rule of the policy, by the name that it has in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// `tools`: which may run.
    Tools,
    /// `paths.read`: what may be read.
    PathsRead,
    /// `paths.write`: what may be written.
    PathsWrite,
    /// `network`: whether programs have one.
    Network,
    /// `unix_sockets`: whether programs may talk to others on the machine.
    UnixSockets,
    /// `limits.output`: how much a task may print or answer.
    LimitsOutput,
    /// `limits.time`: how long one attempt may take.
    LimitsTime,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tools => "tools",
            Self::PathsRead => "paths.read",
            Self::PathsWrite => "paths.write",
            Self::Network => "network",
            Self::UnixSockets => "unix_sockets",
            Self::LimitsOutput => "limits.output",
            Self::LimitsTime => "limits.time",
        })
    }
}

/// The policy stopped a task.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("refused by policy rule \"{rule}\": {why}")]
pub struct Refusal {
    /// By which rule.
    pub rule: Rule,
    /// What was asked and what is allowed.
    pub why: String,
}

impl Refusal {
    /// A refusal by `rule`.
    #[must_use]
    pub fn new(rule: Rule, why: impl Into<String>) -> Self {
        Self {
            rule,
            why: why.into(),
        }
    }
}
