//! What can go wrong between us and the broker.

use super::publish::PublishError;
use super::requests::Unanswered;
use crate::runtime::Denied;

/// A call to the broker that failed. `what` says what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A publish was refused or not confirmed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker answered with an error.
    #[error("{what}: the broker refused: {reason}")]
    Refused {
        /// What was asked.
        what: String,
        /// What it said.
        reason: String,
    },
    /// This process does not do it, and changed nothing.
    #[error("{what}: {reason}")]
    NotAllowed {
        /// What was asked.
        what: String,
        /// Which rule says no.
        reason: String,
    },
    /// The broker did not answer in time, or the connection is down.
    #[error("{what}: no answer from the broker ({reason}); is nats-server up and reachable?")]
    Unreachable {
        /// What was asked.
        what: String,
        /// What the client library said.
        reason: String,
    },
    /// The broker does not permit it: nothing was done.
    #[error(
        "{what}: not permitted to {denied}; use a credential that may (`a3s-coordinator doctor` \
         shows what this one can do)"
    )]
    Denied {
        /// What was asked.
        what: String,
        /// What the broker did not permit.
        denied: Denied,
    },
    /// The stream or bucket does not exist.
    #[error("{what}: {name} does not exist; start a coordinator once, it creates what is missing")]
    Missing {
        /// What was asked.
        what: String,
        /// The stream or bucket.
        name: String,
    },
    /// What is stored cannot be read.
    #[error("{what}: {reason}")]
    Unreadable {
        /// What was read.
        what: String,
        /// Why it makes no sense.
        reason: String,
    },
    /// Somebody else wrote the record in between.
    #[error("{what}: changed by somebody else meanwhile")]
    Conflict {
        /// What was written.
        what: String,
    },
    /// The broker's streams were made by a newer version of this program.
    #[error("{stream} has schema {found}, this program knows {known}: use a newer version of it")]
    NewerSchema {
        /// The stream that says so.
        stream: String,
        /// Its schema.
        found: String,
        /// Ours.
        known: &'static str,
    },
}

impl BrokerError {
    /// Whether the same call may succeed later: there was no answer, or no stream for the moment.
    pub(super) fn may_pass(&self) -> bool {
        use PublishError::{NoStream, Unknown};
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Missing { .. }
                | Self::Publish(Unknown { .. } | NoStream(_))
        )
    }

    /// Whether the broker did not permit it: the same call fails again until somebody changes the
    /// permissions.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Self::Denied { .. } | Self::Publish(PublishError::Denied(_))
        )
    }

    pub(super) fn unanswered(what: impl Into<String>, why: Unanswered) -> Self {
        match why {
            Unanswered::Denied(denied) => Self::Denied {
                what: what.into(),
                denied,
            },
            why => Self::unreachable(what, why),
        }
    }

    pub(super) fn refused(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Refused {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn not_allowed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::NotAllowed {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn unreachable(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unreachable {
            what: what.into(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn unreadable(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Unreadable {
            what: what.into(),
            reason: reason.to_string(),
        }
    }
}
