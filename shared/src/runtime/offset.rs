//! How far this machine's clock is from the broker's.
//!
//! Deadlines are in the broker's time. JetStream dates its answers, so an answer's date is
//! compared with the middle of its round trip; the shortest of three trips is the most exact.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::protocol::clock;

/// How often the clocks are compared.
const TRIPS: usize = 3;

/// How long all comparisons together may take.
const WITHIN: Duration = Duration::from_secs(2);

/// What is never corrected, beside half of the round trip: scheduling and rounding.
const SLACK_MS: i64 = 5;

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trip {
    /// Broker time minus local time, in milliseconds.
    offset_ms: i64,
    /// How long the round trip took.
    took: Duration,
}

/// Compares the clocks and corrects ours ([`clock::set_offset_ms`]) when the difference is
/// larger than the error of the comparison. `api_prefix` is `$JS.API` or that of a domain;
/// `stream` is any stream that this client may ask about. Returns the difference in
/// milliseconds, or `None` when the broker did not answer within two seconds.
pub async fn measure(client: &async_nats::Client, api_prefix: &str, stream: &str) -> Option<i64> {
    measure_by(client, &format!("{api_prefix}.STREAM.INFO.{stream}")).await
}

/// As [`measure`], by a request of this subject, which JetStream answers and this client may
/// send.
pub async fn measure_by(client: &async_nats::Client, subject: &str) -> Option<i64> {
    let best = best_of(client, subject).await?;
    let correction = correction(best);
    clock::set_offset_ms(correction);
    if correction != 0 {
        tracing::warn!(
            "this machine's clock differs from the broker's by {correction} ms; deadlines follow the broker's"
        );
    }
    Some(best.offset_ms)
}

/// As [`measure_by`], and corrects nothing.
pub async fn compare_by(client: &async_nats::Client, subject: &str) -> Option<i64> {
    Some(best_of(client, subject).await?.offset_ms)
}

async fn best_of(client: &async_nats::Client, subject: &str) -> Option<Trip> {
    let mut best: Option<Trip> = None;
    let trips = async {
        for _ in 0..TRIPS {
            let Some(trip) = compare(client, subject).await else {
                break;
            };
            best = Some(best.map_or(trip, |best| shorter(best, trip)));
        }
    };
    // What was measured before the time was over is still good.
    let _ = tokio::time::timeout(WITHIN, trips).await;
    best
}

async fn compare(client: &async_nats::Client, subject: &str) -> Option<Trip> {
    let (sent_ms, began) = (clock::local_now_ms(), Instant::now());
    let answer = client.request(subject.to_owned(), "".into()).await.ok()?;
    let took = began.elapsed();
    let middle = sent_ms + u64::try_from(took.as_millis()).ok()? / 2;
    let offset_ms = dated(&answer.payload)? - i64::try_from(middle).ok()?;
    Some(Trip { offset_ms, took })
}

/// When a JetStream answer was made, in milliseconds since 1970.
fn dated(answer: &[u8]) -> Option<i64> {
    let answer: serde_json::Value = serde_json::from_slice(answer).ok()?;
    let date = OffsetDateTime::parse(answer.get("ts")?.as_str()?, &Rfc3339).ok()?;
    i64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok()
}

fn shorter(one: Trip, other: Trip) -> Trip {
    if other.took < one.took { other } else { one }
}

/// The offset to set: zero when it may be nothing but the error of the comparison.
fn correction(trip: Trip) -> i64 {
    let half_trip = i64::try_from(trip.took.as_millis() / 2).unwrap_or(i64::MAX);
    let error = half_trip.saturating_add(SLACK_MS);
    if trip.offset_ms.abs() > error {
        trip.offset_ms
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_within_the_error_is_not_corrected() {
        let took = Duration::from_millis(20);
        for (offset_ms, expected) in [(0, 0), (15, 0), (-15, 0), (16, 16), (-3000, -3000)] {
            assert_eq!(
                correction(Trip { offset_ms, took }),
                expected,
                "{offset_ms}"
            );
        }
    }

    #[test]
    fn the_date_of_an_answer_is_read_and_nonsense_is_not() {
        let answer = br#"{"type":"x","ts":"1970-01-01T00:00:01.5Z"}"#;
        assert_eq!(dated(answer), Some(1500));
        for nonsense in ["", "{}", r#"{"ts":"soon"}"#, r#"{"ts":1}"#] {
            assert_eq!(dated(nonsense.as_bytes()), None, "{nonsense}");
        }
    }
}
