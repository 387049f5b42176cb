//! Trying again inside a handler, for what the broker's own retries do not fit.

use std::future::Future;
use std::time::Duration;

use a3s_shared::protocol::{ExternalTaskResult, RetryPolicy};

/// Calls `attempt` (with 1, 2, …) until it succeeds or `policy` has no attempt left, and waits in
/// between as the policy says. The slot is held all the time: a worker's tool does better to
/// answer that it wants a retry.
///
/// What the last attempt produced is kept; its error is prefixed with the number of attempts.
pub async fn with_retry<F, Fut>(policy: RetryPolicy, mut attempt: F) -> ExternalTaskResult
where
    F: FnMut(u32) -> Fut,
    Fut: Future<Output = ExternalTaskResult>,
{
    let attempts = policy.max_attempts();
    let mut number = 1;
    loop {
        let result = attempt(number).await;
        if result.success || number >= attempts {
            return told(result, number);
        }
        let delay_ms = policy.delay_ms(number, rand::random());
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        number += 1;
    }
}

/// The result of attempt `number`, which was the last.
fn told(mut result: ExternalTaskResult, number: u32) -> ExternalTaskResult {
    result.attempt = Some(number);
    if !result.success && number > 1 {
        let last = result.error.as_deref().unwrap_or("no error given");
        result.error = Some(format!("failed {number} times, last: {last}"));
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;

    fn answer(success: bool) -> ExternalTaskResult {
        ExternalTaskResult {
            success,
            result: json!({"kept": true}),
            error: (!success).then(|| "busy".to_owned()),
            ..ExternalTaskResult::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_success_ends_it() {
        let result = with_retry(RetryPolicy::default(), async |n| answer(n == 3)).await;
        assert!(result.success);
        assert_eq!(result.attempt, Some(3));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_and_the_last_output_is_kept() {
        let start = Instant::now();
        let result = with_retry(RetryPolicy::default(), async |_| answer(false)).await;
        let waited = start.elapsed();
        assert_eq!(result.error.as_deref(), Some("failed 4 times, last: busy"));
        assert_eq!(result.result, json!({"kept": true}));
        // 100 + 200 + 400 ms, each spread over its upper half.
        assert!((350..=710).contains(&waited.as_millis()), "{waited:?}");
    }
}
