//! What the two programs of the floor agree on, made beforehand where it can be.

use std::time::{SystemTime, UNIX_EPOCH};

use a3s_coordinator::bench::{Load, Until};
use a3s_shared::broker::{Broker, Names};
use a3s_shared::protocol::{
    DEFAULT_POOL, Effect, Encoding, RetryPolicy, Route, SessionLane, TaskBody, TaskHeaders,
    TaskResult, clock, headers,
};
use anyhow::{Result, bail};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;

/// The lane of all tasks, as in [`a3s_coordinator::bench`].
pub(super) const LANE: SessionLane = SessionLane::Query;

/// Longer than any run.
const TIMEOUT_MS: u64 = 3_600_000;

/// The condition that makes a result the first one.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";

/// How the broker's word begins when it did what it was asked.
const STORED: &[u8] = b"{\"stream\"";

/// The headers of a task, but for those that name it.
pub(super) fn task_headers(encoding: Encoding) -> HeaderMap {
    let common = TaskHeaders {
        message_id: None,
        reply_to: None,
        deadline_ms: Some(clock::now_ms() + TIMEOUT_MS),
        retry: Some(RetryPolicy::default()),
        effect: Some(Effect::Idempotent),
        content_type: Some(encoding.content_type().to_owned()),
        traceparent: None,
        blob: None,
        workspace: None,
    };
    map(common.into_pairs())
}

/// The headers of a result.
pub(super) fn result_headers(encoding: Encoding) -> HeaderMap {
    map(vec![
        (headers::CONTENT_TYPE, encoding.content_type().to_owned()),
        (EXPECTED_LAST, "0".to_owned()),
    ])
}

fn map(pairs: Vec<(&'static str, String)>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.insert(name, value.as_str());
    }
    map
}

/// A body that a worker of the product can run too. It has no id of its own, so all tasks share
/// it; what the id would take is filled in.
pub(super) fn task_body(session: &str, bytes: usize, encoding: Encoding) -> Bytes {
    let load = Load {
        in_flight: 1,
        body_bytes: bytes,
        every: None,
        until: Until::Tasks(1),
    };
    let mut payload = load.payload(session, encoding);
    let mut body = Vec::new();
    // Twice: what is missing the first time is filled in the second.
    for _ in 0..2 {
        if let Some(fill) = payload["fill"].as_str() {
            let missing = if body.is_empty() {
                0
            } else {
                bytes.saturating_sub(body.len())
            };
            payload["fill"] = json!(format!("{fill}{}", "x".repeat(missing)));
        }
        body = encoding.encode(&TaskBody {
            command_type: "noop".to_owned(),
            payload: payload.clone(),
            ..TaskBody::default()
        });
    }
    body.into()
}

/// As many bytes as the product's result has. The first eight are replaced by the time at which
/// the task started.
pub(super) fn result_body(encoding: Encoding) -> Vec<u8> {
    encoding.encode(&TaskResult {
        task_id: "0".repeat(32),
        session_id: "0".repeat(34),
        lane: LANE,
        command_type: "noop".to_owned(),
        success: true,
        result: json!({"started_at_us": now_us()}),
        error: None,
        error_kind: None,
        attempt: 1,
        worker_id: "0".repeat(34),
        started_at_ms: clock::now_ms(),
        duration_ms: 0,
    })
}

/// The subject of a session's tasks.
pub(super) fn task_subject(names: &Names, session: &str) -> String {
    names.task(session, LANE, &Route::Pool(DEFAULT_POOL.to_owned()))
}

/// What the client's subscriptions and publishes need of the broker.
pub(super) async fn connect(url: &str) -> Result<(async_nats::Client, Broker)> {
    let client = async_nats::connect(url).await?;
    let broker = Broker::new(client.clone(), None, "a3s")?;
    Ok((client, broker))
}

/// Fails unless the broker says that it stored a message.
pub(super) fn must_be_stored(answer: &[u8]) -> Result<()> {
    if !answer.starts_with(STORED) {
        bail!("the broker refused: {}", String::from_utf8_lossy(answer));
    }
    Ok(())
}

/// The local wall clock, in microseconds since 1970.
pub(super) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_as_large_as_those_of_the_product() {
        for encoding in [Encoding::MessagePack, Encoding::Json] {
            for bytes in [256, 4 * 1024, 64 * 1024] {
                let body = task_body("s", bytes, encoding);
                assert_eq!(body.len(), bytes, "{encoding:?}");
                let read: TaskBody = encoding.decode(&body).expect("it can be read");
                assert_eq!(read.command_type, "noop");
            }
        }
    }
}
