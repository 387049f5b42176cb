//! The headers of a task message.

use super::{Effect, Encoding, RetryPolicy, SessionLane, clock};

/// Names a message for the broker's duplicate window: `<session>.<task id>`, and `.r<anything new>`
/// for a replay.
pub const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The subject of the result. JetStream uses the reply field itself.
pub const REPLY_TO: &str = "A3s-Reply-To";
/// When the time is over, in the broker's time, milliseconds since 1970.
pub const DEADLINE: &str = "A3s-Deadline";
/// How many attempts there are in all.
pub const MAX_ATTEMPTS: &str = "A3s-Max-Attempts";
/// The wait between attempts: `exponential:MS`, `fixed:MS`.
pub const RETRY_DELAY: &str = "A3s-Retry-Delay";
/// `idempotent` or `once`.
pub const EFFECT: &str = "A3s-Effect";
/// `application/msgpack` or `application/json`.
pub const CONTENT_TYPE: &str = "Content-Type";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The body is in the object store under this name; what is here is empty.
pub const BLOB: &str = "A3s-Blob";
/// The tree that the task needs, and which changed files of it return: a
/// [`WorkspaceRef`](super::WorkspaceRef).
pub const WORKSPACE: &str = "A3s-Workspace";
/// The public key of who signed the message, `U…`.
pub const KEY: &str = "A3s-Key";
/// The signature of the message by that key, base64url.
pub const SIGNATURE: &str = "A3s-Signature";
/// Of a result: the signature of the task that it answers.
pub const ANSWERS: &str = "A3s-Answers";

/// What the headers of a task message say. A missing or unreadable one has its default, so that
/// a task can be published by hand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskHeaders {
    /// `Nats-Msg-Id`.
    pub message_id: Option<String>,
    /// `A3s-Reply-To`.
    pub reply_to: Option<String>,
    /// `A3s-Deadline`.
    pub deadline_ms: Option<u64>,
    /// `A3s-Max-Attempts` and `A3s-Retry-Delay`.
    pub retry: Option<RetryPolicy>,
    /// `A3s-Effect`.
    pub effect: Option<Effect>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `traceparent`.
    pub traceparent: Option<String>,
    /// `A3s-Blob`.
    pub blob: Option<String>,
    /// `A3s-Workspace`, as it is: who cannot read it must not run the task elsewhere.
    pub workspace: Option<String>,
}

impl TaskHeaders {
    /// Reads them from names and values. Of several with one name the last one counts.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let (mut attempts, mut delay): (Option<u32>, Option<RetryPolicy>) = (None, None);
        let mut read = Self::default();
        for (name, value) in pairs {
            let text = || Some(value.to_owned());
            match name {
                MESSAGE_ID => read.message_id = text(),
                REPLY_TO => read.reply_to = text(),
                DEADLINE => read.deadline_ms = value.parse().ok(),
                MAX_ATTEMPTS => attempts = value.parse().ok(),
                RETRY_DELAY => delay = value.parse().ok(),
                EFFECT => read.effect = value.parse().ok(),
                CONTENT_TYPE => read.content_type = text(),
                TRACEPARENT => read.traceparent = text(),
                BLOB => read.blob = text(),
                WORKSPACE => read.workspace = text(),
                _ => {}
            }
        }
        read.retry = (attempts.is_some() || delay.is_some()).then(|| {
            let policy = delay.unwrap_or_default();
            let max_retries = attempts.map_or(policy.max_retries, |n| n.saturating_sub(1));
            RetryPolicy {
                max_retries,
                ..policy
            }
        });
        read
    }

    /// The headers to write, in a fixed order.
    #[must_use]
    pub fn into_pairs(self) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::with_capacity(10);
        let mut push = |name, value: Option<String>| {
            if let Some(value) = value {
                pairs.push((name, value));
            }
        };
        push(MESSAGE_ID, self.message_id);
        push(REPLY_TO, self.reply_to);
        push(DEADLINE, self.deadline_ms.map(|v| v.to_string()));
        push(
            MAX_ATTEMPTS,
            self.retry.map(|r| r.max_attempts().to_string()),
        );
        push(RETRY_DELAY, self.retry.map(|r| r.to_string()));
        push(EFFECT, self.effect.map(|e| e.id().to_owned()));
        push(CONTENT_TYPE, self.content_type);
        push(TRACEPARENT, self.traceparent);
        push(BLOB, self.blob);
        push(WORKSPACE, self.workspace);
        pairs
    }

    /// Whether the task may be started again after a crash.
    #[must_use]
    pub fn effect_in(&self, lane: SessionLane) -> Effect {
        self.effect.unwrap_or(lane.default_effect())
    }

    /// How often the task may be tried.
    #[must_use]
    pub fn retry_in(&self, lane: SessionLane) -> RetryPolicy {
        self.retry.unwrap_or_else(|| match self.effect_in(lane) {
            Effect::Idempotent => RetryPolicy::default(),
            Effect::Once => RetryPolicy::none(),
        })
    }

    /// The deadline of a task that was stored at `stored_at_ms` and has `timeout_ms`.
    #[must_use]
    pub fn deadline(&self, stored_at_ms: u64, timeout_ms: u64) -> u64 {
        let base = if stored_at_ms == 0 {
            clock::now_ms()
        } else {
            stored_at_ms
        };
        self.deadline_ms.unwrap_or(base.saturating_add(timeout_ms))
    }

    /// How the body is written.
    #[must_use]
    pub fn encoding(&self, body: &[u8]) -> Encoding {
        Encoding::of(self.content_type.as_deref(), body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_back_as_written() {
        let headers = TaskHeaders {
            message_id: Some("t1.r2".into()),
            reply_to: Some("a3s.s.result.t1".into()),
            deadline_ms: Some(12),
            retry: Some(RetryPolicy::default()),
            effect: Some(Effect::Once),
            content_type: Some(Encoding::Json.content_type().into()),
            traceparent: None,
            blob: Some("sha256-00.t1".into()),
            workspace: Some("00;return=*.xml".into()),
        };
        let pairs = headers.clone().into_pairs();
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
        assert_eq!(TaskHeaders::read(pairs), headers);
    }

    #[test]
    fn a_task_published_by_hand_has_the_defaults_of_its_lane() {
        let headers = TaskHeaders::default();
        assert_eq!(headers.effect_in(SessionLane::Query), Effect::Idempotent);
        assert_eq!(headers.retry_in(SessionLane::Query).max_attempts(), 4);
        assert_eq!(headers.effect_in(SessionLane::Execute), Effect::Once);
        assert_eq!(headers.retry_in(SessionLane::Execute).max_attempts(), 1);
        assert_eq!(headers.deadline(1_000, 60_000), 61_000);
    }
}
