//! What is submitted, and for how long.

use std::time::Duration;

use a3s_shared::protocol::{Encoding, SessionLane, TaskBody, Token};
use serde_json::{Value, json};

use crate::command::Task;

/// The tool that answers at once.
const TOOL: &str = "noop";

/// Where the tasks go. A task of this lane may be started again after a crash, so nothing is
/// written for it but the task and its result.
pub(super) const LANE: SessionLane = SessionLane::Query;

/// From submit to result. A benchmark that is slower than this has failed.
const TIMEOUT_MS: u64 = 60_000;

/// When a load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After so many tasks.
    Tasks(u64),
    /// After this time; what is in flight then is awaited, and counted.
    Elapsed(Duration),
}

/// Tasks to be submitted.
#[derive(Debug, Clone)]
pub struct Load {
    /// How many are submitted and not yet answered at a time.
    pub in_flight: usize,
    /// How many bytes a task's body has on the wire; never less than an empty one needs.
    pub body_bytes: usize,
    /// One task in each such period instead of as many as can be.
    pub every: Option<Duration>,
    /// When it ends.
    pub until: Until,
}

impl Load {
    /// The payload that makes a task's body, of a session of this name, `body_bytes` long.
    #[must_use]
    pub fn payload(&self, session: &str, encoding: Encoding) -> Value {
        let of = |fill: usize| json!({"clock": true, "fill": "x".repeat(fill)});
        let size = |fill: usize| body(session, of(fill), encoding).len();
        let mut fill = self.body_bytes.saturating_sub(size(0));
        // The length of a text is written before it, in more bytes the longer it is.
        fill = fill.saturating_sub(size(fill).saturating_sub(self.body_bytes));
        of(fill)
    }
}

/// A task's body as it is on the wire.
fn body(session: &str, payload: Value, encoding: Encoding) -> Vec<u8> {
    encoding.encode(&TaskBody {
        task_id: Some(Token::unique().into()),
        session_id: Some(session.to_owned()),
        lane: Some(LANE),
        command_type: TOOL.to_owned(),
        payload,
        timeout_ms: Some(TIMEOUT_MS),
    })
}

/// A task with such a payload.
pub(super) fn task(payload: Value) -> Task {
    Task::new(TOOL, payload).timeout_ms(TIMEOUT_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_large_as_asked_for() {
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            for body_bytes in [256, 4 * 1024, 64 * 1024] {
                let load = Load {
                    in_flight: 1,
                    body_bytes,
                    every: None,
                    until: Until::Tasks(1),
                };
                let size = body("bench", load.payload("bench", encoding), encoding).len();
                assert_eq!(size, body_bytes, "{encoding:?}");
            }
        }
    }
}
