//! The rate limit of a session, taken from the broker: one bucket for all processes that submit
//! for the session. What cannot be confirmed counts as taken and is not used, so that the limit
//! holds whatever fails; while the broker is away, nothing starts that a limit counts.

use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::clock;
use tokio::time::{Instant, timeout};

use super::core::Core;
use crate::rate::RateLimit;

/// How often a write that met another process's is repeated at once.
const TRIES: usize = 5;

/// The wait after that.
const CROWDED: Duration = Duration::from_millis(20);

/// How long the broker may take. A request that is lost with its connection is never answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The wait after an error.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// The longest extra wait, in milliseconds. Two processes that wait for the same token do not
/// come back at the same moment, always in the same order.
const JITTER_MS: u64 = 20;

/// Takes up to `wanted` tokens, and starts what they allow.
pub(super) async fn fetch(core: Arc<Core>, wanted: u64) {
    let Some(limit) = core.plan.rate else { return };
    let taken = take(&core.hub.broker, &core.id, &limit, wanted);
    let answer = match timeout(ANSWER_WITHIN, taken).await {
        Ok(Ok(taken)) => Ok(taken),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "no answer from the broker within {ANSWER_WITHIN:?}"
        )),
    };
    let (tokens, wait) = answer.unwrap_or_else(|error| {
        tracing::warn!(
            session.id = core.id,
            error,
            "the rate limit is unknown: nothing starts"
        );
        (0, RETRY_AFTER)
    });
    let wait = wait + Duration::from_millis(rand::random_range(0..JITTER_MS));
    if let Some(allowance) = &mut core.state.lock().allowance {
        allowance.granted(tokens, wait, Instant::now());
    }
    core.pump();
}

/// How many tokens there were; when none, how long until there is one.
async fn take(
    broker: &Broker,
    session: &str,
    limit: &RateLimit,
    wanted: u64,
) -> Result<(u64, Duration), BrokerError> {
    for _ in 0..TRIES {
        let found = broker.bucket(session).await?;
        let now_ms = clock::now_ms();
        let (mut bucket, revision) = found.unwrap_or_else(|| (limit.full(now_ms), 0));
        let taken = limit.take(&mut bucket, wanted, now_ms);
        if taken == 0 {
            return Ok((0, limit.wait(&bucket, now_ms)));
        }
        match broker.write_bucket(session, &bucket, revision).await {
            Ok(_) => return Ok((taken, Duration::ZERO)),
            Err(BrokerError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((0, CROWDED))
}
