//! A token bucket: how many tasks may start per time. Pure: the time is passed in.
//!
//! A token is taken when a task is about to start, never before, so idle time costs none. The
//! bucket is full at the beginning and fills evenly.
//!
//! The bucket itself is at the broker, one for all processes of a session. Under a fast limit
//! they take some tokens ahead of the tasks, and keep them for [`HOLD`] at most. What may flow
//! in during that time is left out of the bucket's size, so that no window of time, however it is
//! chosen, sees more starts than the limit's operations and the inflow.

use std::time::Duration;

use a3s_shared::broker::Bucket;

/// How long a token may be kept before it is used.
pub(crate) const HOLD: Duration = Duration::from_millis(20);

/// So many operations in such a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RateLimit {
    /// The most that may start at once; at least 1.
    pub(crate) operations: u64,
    /// The time in which as many more may start.
    pub(crate) per: Duration,
}

impl RateLimit {
    /// A full bucket.
    #[must_use]
    pub(crate) fn full(&self, now_ms: u64) -> Bucket {
        Bucket {
            tokens: self.size(),
            at_ms: now_ms,
        }
    }

    /// Takes up to `wanted` whole tokens, and says how many there were.
    pub(crate) fn take(&self, bucket: &mut Bucket, wanted: u64, now_ms: u64) -> u64 {
        self.refill(bucket, now_ms);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number between zero and the bucket's size"
        )]
        let taken = (bucket.tokens.floor() as u64).min(wanted);
        bucket.tokens -= as_f64(taken);
        taken
    }

    /// How long until one token is there; zero when one is.
    #[must_use]
    pub(crate) fn wait(&self, bucket: &Bucket, now_ms: u64) -> Duration {
        let mut bucket = *bucket;
        self.refill(&mut bucket, now_ms);
        let missing = (1.0 - bucket.tokens).max(0.0);
        if missing == 0.0 {
            return Duration::ZERO;
        }
        // One millisecond more than the exact time, which rounding would make too short.
        self.per.mul_f64(missing / as_f64(self.operations)) + Duration::from_millis(1)
    }

    /// Adds what has flowed in since the last change. A clock that went back adds nothing.
    fn refill(&self, bucket: &mut Bucket, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(bucket.at_ms);
        let per_ms = self.per.as_secs_f64() * 1_000.0;
        let inflow = as_f64(elapsed_ms) / per_ms * as_f64(self.operations);
        bucket.tokens = (bucket.tokens + inflow).min(self.size());
        bucket.at_ms = bucket.at_ms.max(now_ms);
    }

    /// The most tokens worth taking before there are tasks for them; zero unless the limit is so
    /// fast that a request for each of them would slow it down.
    pub(crate) fn most_ahead(&self) -> u64 {
        let inflow = self.operations.saturating_mul(as_ms(HOLD)) / as_ms(self.per).max(1);
        let most = inflow.min(self.operations / 50);
        if most < 2 { 0 } else { most }
    }

    fn size(&self) -> f64 {
        let held = match self.most_ahead() {
            0 => 0,
            // One more for the fraction that was cut off.
            most => most + 1,
        };
        as_f64(self.operations - held)
    }
}

fn as_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, far beyond any rate or time"
)]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_empty_bucket_says_how_long_to_wait() {
        let limit = RateLimit {
            operations: 10,
            per: Duration::from_secs(1),
        };
        let mut bucket = limit.full(0);
        assert_eq!(limit.take(&mut bucket, 99, 0), 10);
        let wait = limit.wait(&bucket, 0);
        assert_eq!(wait, Duration::from_millis(101));
        assert_eq!(limit.take(&mut bucket, 1, 101), 1);
    }

    #[test]
    fn only_fast_limits_take_ahead() {
        let ahead = |operations, seconds| {
            let per = Duration::from_secs(seconds);
            RateLimit { operations, per }.most_ahead()
        };
        assert_eq!((ahead(5, 1), ahead(99, 1), ahead(30, 3_600)), (0, 0, 0));
        assert_eq!((ahead(1_000, 1), ahead(60_000, 60)), (20, 20));
        assert!(ahead(u64::MAX, 1) > 0);
    }

    proptest! {
        #[test]
        fn never_more_than_a_bucket_and_the_inflow(
            operations in 1_u64..50, per_ms in 1_u64..5_000,
            steps in prop::collection::vec((0_u64..400, 0_u64..20), 1..60),
        ) {
            let limit = RateLimit { operations, per: Duration::from_millis(per_ms) };
            let (mut now, mut taken) = (1_000, 0);
            let mut bucket = limit.full(now);
            for (pause, wanted) in steps {
                now += pause;
                taken += limit.take(&mut bucket, wanted, now);
            }
            let inflow = (now - 1_000) as f64 / per_ms as f64 * operations as f64;
            prop_assert!(taken as f64 <= operations as f64 + inflow + 1e-6);
        }

        #[test]
        fn idle_time_costs_no_token(idle in 0_u64..10_000_000) {
            let limit = RateLimit { operations: 5, per: Duration::from_secs(60) };
            let mut bucket = limit.full(0);
            prop_assert_eq!(limit.take(&mut bucket, 5, idle), 5);
        }

        #[test]
        fn after_the_wait_there_is_a_token(operations in 1_u64..1_000, per_ms in 1_u64..100_000) {
            let limit = RateLimit { operations, per: Duration::from_millis(per_ms) };
            let mut bucket = limit.full(0);
            limit.take(&mut bucket, operations, 0);
            let wait = limit.wait(&bucket, 0);
            let later = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).expect("short");
            prop_assert_eq!(limit.take(&mut bucket, 1, later), 1);
        }
    }
}
