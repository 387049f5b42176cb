//! The bytes that are signed. Every field is preceded by its length, so that no two messages have
//! the same bytes; the values are those of the message as they are on the wire, never a second
//! encoding of them, so that every language signs the same.

use std::fmt;

use sha2::{Digest, Sha256};

use super::is_signed_by;
use crate::protocol::{SessionLane, headers};

/// The first field of all that is signed. Another form gets another one.
const VERSION: &str = "a3s-signature-1";

/// The SHA-256 of a body as it is in its message or in the object store.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// That of these bytes.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// That of a body in the object store, which its name says: `sha256-<digest>.<owner>`. Whoever
    /// reads the body compares the two. `None` when it is no such name.
    #[must_use]
    pub fn of_blob(name: &str) -> Option<Self> {
        let text = name.strip_prefix("sha256-")?.split('.').next()?;
        if text.len() != 64 {
            return None;
        }
        let mut digest = [0; 32];
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What of a task is signed: all that says what is to be done, for whom, where and until when.
/// Header values are as they are in the message; a missing one is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedTask<'a> {
    /// The subject it is published to: session, lane, and pool or own workers.
    pub subject: &'a str,
    /// Its session.
    pub session_id: &'a str,
    /// Its id.
    pub task_id: &'a str,
    /// Its lane.
    pub lane: SessionLane,
    /// Its tool.
    pub command_type: &'a str,
    /// Its body.
    pub body: BodyDigest,
    /// `Nats-Msg-Id`.
    pub message_id: &'a str,
    /// `A3s-Reply-To`.
    pub reply_to: &'a str,
    /// `A3s-Deadline`.
    pub deadline: &'a str,
    /// `A3s-Max-Attempts`.
    pub max_attempts: &'a str,
    /// `A3s-Retry-Delay`.
    pub retry_delay: &'a str,
    /// `A3s-Effect`.
    pub effect: &'a str,
    /// `Content-Type`.
    pub content_type: &'a str,
    /// `A3s-Workspace`.
    pub workspace: &'a str,
}

impl<'a> SignedTask<'a> {
    /// A task with these headers; `get` returns the value of one. The rest is filled in by name.
    pub fn with_headers(get: impl Fn(&str) -> Option<&'a str>, rest: Self) -> Self {
        let text = |name| get(name).unwrap_or_default();
        Self {
            message_id: text(headers::MESSAGE_ID),
            reply_to: text(headers::REPLY_TO),
            deadline: text(headers::DEADLINE),
            max_attempts: text(headers::MAX_ATTEMPTS),
            retry_delay: text(headers::RETRY_DELAY),
            effect: text(headers::EFFECT),
            content_type: text(headers::CONTENT_TYPE),
            workspace: text(headers::WORKSPACE),
            ..rest
        }
    }

    /// A task without headers.
    #[must_use]
    pub fn new(
        subject: &'a str,
        session_id: &'a str,
        task_id: &'a str,
        lane: SessionLane,
        command_type: &'a str,
        body: BodyDigest,
    ) -> Self {
        Self {
            subject,
            session_id,
            task_id,
            lane,
            command_type,
            body,
            message_id: "",
            reply_to: "",
            deadline: "",
            max_attempts: "",
            retry_delay: "",
            effect: "",
            content_type: "",
            workspace: "",
        }
    }

    /// Whether `signature` is that of this task by `key`.
    #[must_use]
    pub fn is_signed_by(&self, key: &str, signature: &str) -> bool {
        is_signed_by(key, &self.canonical(), signature)
    }

    /// The bytes to sign.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let text = str::as_bytes;
        joined(&[
            text(VERSION),
            b"task",
            text(self.subject),
            text(self.session_id),
            text(self.task_id),
            text(self.lane.id()),
            text(self.command_type),
            &self.body.0,
            text(self.message_id),
            text(self.reply_to),
            text(self.deadline),
            text(self.max_attempts),
            text(self.retry_delay),
            text(self.effect),
            text(self.content_type),
            text(self.workspace),
        ])
    }
}

/// What of a result is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedResult<'a> {
    /// The subject it is published to.
    pub subject: &'a str,
    /// Its task's session.
    pub session_id: &'a str,
    /// Its task.
    pub task_id: &'a str,
    /// Who answers.
    pub worker_id: &'a str,
    /// `A3s-Answers`: the signature of the task's message, so that the result is that of no other
    /// task, and of no earlier one of the same id. Empty when the task was not signed.
    pub answers: &'a str,
    /// `Content-Type`; empty when it is missing.
    pub content_type: &'a str,
    /// Its body.
    pub body: BodyDigest,
}

impl SignedResult<'_> {
    /// The bytes to sign.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        let text = str::as_bytes;
        joined(&[
            text(VERSION),
            b"result",
            text(self.subject),
            text(self.session_id),
            text(self.task_id),
            text(self.worker_id),
            text(self.answers),
            text(self.content_type),
            &self.body.0,
        ])
    }
}

/// Each field after its length, four bytes, the highest first.
fn joined(fields: &[&[u8]]) -> Vec<u8> {
    let length = fields.iter().map(|field| 4 + field.len()).sum();
    let mut bytes = Vec::with_capacity(length);
    for field in fields {
        // No header and no subject comes near: the server's limit for all of them is 64 KiB.
        let length = u32::try_from(field.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(field);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_a_body_in_the_object_store_is_the_one_in_its_name() {
        let digest = BodyDigest::of(b"large");
        let name = format!("sha256-{digest:?}.t1");
        assert_eq!(BodyDigest::of_blob(&name), Some(digest));
        for bad in [
            "",
            "sha256-",
            "sha256-00.t1",
            &name.replace("sha256", "md5"),
        ] {
            assert_eq!(BodyDigest::of_blob(bad), None, "{bad:?}");
        }
        let not_hex = format!("sha256-{}.t1", "é".repeat(32));
        assert_eq!(BodyDigest::of_blob(&not_hex), None);
    }

    #[test]
    fn what_moves_from_one_field_to_the_next_makes_other_bytes() {
        let body = BodyDigest::of(b"");
        let task = |session, id| SignedTask::new("s", session, id, SessionLane::Query, "c", body);
        assert_ne!(task("ab", "c").canonical(), task("a", "bc").canonical());
    }
}
