//! `noop`: answers at once. What remains of a task's time is the way to the worker and back.

use std::time::{SystemTime, UNIX_EPOCH};

use a3s_shared::protocol::ExternalTask;
use serde_json::{Value, json};

use crate::context::ToolContext;
use crate::tool::{Tool, Verdict};

/// Answers its payload's `reply`, or `{}`. With `clock: true` it adds `started_at_us`, the time on
/// this machine's own clock in microseconds since 1970: a caller on the same machine learns from
/// it how long the task took to start.
#[derive(Debug, Default)]
pub struct Noop;

#[async_trait::async_trait]
impl Tool for Noop {
    fn name(&self) -> &str {
        "noop"
    }

    async fn run(&self, task: &ExternalTask, _: &ToolContext) -> Verdict {
        let mut reply = match task.payload.get("reply") {
            Some(reply) if !reply.is_null() => reply.clone(),
            _ => json!({}),
        };
        let clock = task.payload.get("clock").and_then(Value::as_bool);
        if let Some(reply) = reply.as_object_mut().filter(|_| clock == Some(true)) {
            reply.insert("started_at_us".to_owned(), json!(now_us()));
        }
        Verdict::success(reply)
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::harness::Harness;

    #[tokio::test]
    async fn it_answers_what_it_is_told_and_nothing_else() {
        let harness = Harness::new();
        let reply = json!({"a": [1, 2]});
        let payload = json!({"reply": reply, "fill": "xxx"});
        assert_eq!(harness.success(&Noop, payload).await, reply);
        assert_eq!(harness.success(&Noop, json!(null)).await, json!({}));
    }

    #[tokio::test]
    async fn it_tells_the_time_when_asked() {
        let harness = Harness::new();
        let before = now_us();
        let result = harness.success(&Noop, json!({"clock": true})).await;
        let at = result["started_at_us"].as_u64().expect("a number");
        assert!((before..=now_us()).contains(&at), "{at}");
    }
}
