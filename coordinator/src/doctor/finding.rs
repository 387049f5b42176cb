//! What a check comes to.

use a3s_shared::broker::BrokerError;
use serde::Serialize;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Good,
    /// Not as it should be; the finding has a fix.
    Wrong,
    /// It cannot be seen with this credential.
    Unknown,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// The check.
    pub(crate) check: &'static str,
    /// How it stands.
    pub(crate) state: State,
    /// What was found: a sentence.
    pub(crate) text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

impl Finding {
    /// All is well.
    pub(crate) fn good(check: &'static str, text: impl Into<String>) -> Self {
        Self::new(check, State::Good, text.into(), None)
    }

    /// Something is wrong, and this mends it.
    pub(crate) fn wrong(
        check: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(check, State::Wrong, text.into(), Some(fix.into()))
    }

    /// Nobody can say, and this is how to find out.
    pub(crate) fn unknown(
        check: &'static str,
        text: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(check, State::Unknown, text.into(), Some(fix.into()))
    }

    /// The check could not be made. What a credential may not see is no fault; a broker that does
    /// not answer is.
    pub(crate) fn failed(check: &'static str, error: &BrokerError) -> Self {
        let fix = match error.is_denied() {
            true => return Self::hidden(check, &error.to_string()),
            false => "see that nats-server runs with JetStream, and can be reached",
        };
        Self::wrong(check, error.to_string(), fix)
    }

    /// It cannot be seen with this credential.
    pub(crate) fn hidden(check: &'static str, what: &str) -> Self {
        let fix = "ask with the key of a coordinator for all sessions";
        Self::unknown(check, what, fix)
    }

    fn new(check: &'static str, state: State, text: String, fix: Option<String>) -> Self {
        Self {
            check,
            state,
            text,
            fix,
        }
    }
}
