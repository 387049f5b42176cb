//! What a process has in hand of the rate limit that its session shares with other processes, and
//! when it asks for more. Pure: the time is passed in, and who asks is told to.
//!
//! A task that may start takes a token from the hand. When that is empty, one token is asked for;
//! when that was used up at once, twice as many the next time, as far as the limit allows. What is
//! not used soon lapses: it never adds to a later burst, and nothing is taken ahead again until
//! there is need.

use std::time::Duration;

use tokio::time::Instant;

use crate::rate::HOLD;

/// The tokens in hand.
#[derive(Debug)]
pub(crate) struct Allowance {
    in_hand: u64,
    /// When they lapse.
    until: Option<Instant>,
    /// How many to ask for beyond the one that is needed.
    ahead: u64,
    most_ahead: u64,
    asking: bool,
    /// The bucket was empty: ask again then.
    retry_at: Option<Instant>,
}

/// Why no token is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// So many are to be asked for now; [`Allowance::granted`] takes the answer.
    Ask(u64),
    /// They have been asked for.
    Asked,
    /// There will be none before.
    Until(Instant),
}

impl Allowance {
    /// An empty hand. At most `most_ahead` tokens are asked for before they are needed.
    pub(crate) fn new(most_ahead: u64) -> Self {
        Self {
            in_hand: 0,
            until: None,
            ahead: 0,
            most_ahead,
            asking: false,
            retry_at: None,
        }
    }

    /// Takes a token for a task that starts now.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Pause> {
        let fresh = self.until.is_some_and(|until| now < until);
        if fresh && self.in_hand > 0 {
            self.in_hand -= 1;
            return Ok(());
        }
        if self.asking {
            return Err(Pause::Asked);
        }
        if let Some(at) = self.retry_at.filter(|at| now < *at) {
            return Err(Pause::Until(at));
        }
        // After an empty bucket the demand is what it was.
        if self.retry_at.take().is_none() {
            self.ahead = if fresh {
                (self.ahead * 2).max(1).min(self.most_ahead)
            } else {
                0
            };
        }
        self.in_hand = 0;
        self.asking = true;
        Err(Pause::Ask(1 + self.ahead))
    }

    /// The answer: so many tokens; or none, and how long until there is one.
    pub(crate) fn granted(&mut self, tokens: u64, wait: Duration, now: Instant) {
        self.asking = false;
        self.in_hand = tokens;
        self.until = Some(now + HOLD);
        // A fast limit is not asked token by token: some may gather.
        let wait = if self.most_ahead > 0 {
            wait.max(HOLD)
        } else {
            wait
        };
        self.retry_at = (tokens == 0).then(|| now + wait);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rate::RateLimit;

    /// Asks, and is granted everything.
    fn ask(allowance: &mut Allowance, now: Instant) -> u64 {
        let Err(Pause::Ask(wanted)) = allowance.take(now) else {
            panic!("nothing is to be asked: {allowance:?}");
        };
        allowance.granted(wanted, Duration::ZERO, now);
        wanted
    }

    #[test]
    fn what_is_used_up_at_once_is_asked_for_in_larger_batches() {
        let (mut allowance, now) = (Allowance::new(5), Instant::now());
        let mut batches = Vec::new();
        for _ in 0..5 {
            let batch = ask(&mut allowance, now);
            batches.push(batch);
            for _ in 0..batch {
                assert_eq!(allowance.take(now), Ok(()));
            }
        }
        assert_eq!(batches, [1, 2, 3, 5, 6]);
    }

    #[test]
    fn what_is_not_used_lapses_and_is_not_taken_ahead_again() {
        let (mut allowance, now) = (Allowance::new(5), Instant::now());
        ask(&mut allowance, now);
        assert_eq!(allowance.take(now), Ok(()));
        assert_eq!(ask(&mut allowance, now), 2);
        assert_eq!(ask(&mut allowance, now + HOLD), 1);
    }

    #[test]
    fn a_slow_limit_is_asked_token_by_token() {
        let (mut allowance, now) = (Allowance::new(0), Instant::now());
        for _ in 0..3 {
            assert_eq!(ask(&mut allowance, now), 1);
            assert_eq!(allowance.take(now), Ok(()));
        }
    }

    #[test]
    fn nobody_asks_twice_or_before_there_is_one() {
        let (mut allowance, now) = (Allowance::new(0), Instant::now());
        assert_eq!(allowance.take(now), Err(Pause::Ask(1)));
        assert_eq!(allowance.take(now), Err(Pause::Asked));
        let wait = Duration::from_secs(1);
        allowance.granted(0, wait, now);
        assert_eq!(allowance.take(now), Err(Pause::Until(now + wait)));
        assert_eq!(allowance.take(now + wait), Err(Pause::Ask(1)));
    }

    proptest! {
        /// Two processes share a bucket, and want to start a few tasks, or more than it holds.
        #[test]
        fn no_window_sees_more_starts_than_the_limit_and_the_inflow(
            operations in 1_u64..400,
            steps in prop::collection::vec(
                (
                    prop_oneof![Just(0_u64), 0_u64..25],
                    0_usize..2,
                    prop_oneof![4 => 0_u64..6, 1 => Just(500)],
                ),
                1..60,
            ),
        ) {
            let limit = RateLimit { operations, per: Duration::from_secs(1) };
            let epoch = Instant::now();
            let mut bucket = limit.full(0);
            let mut processes = [0, 1].map(|_| Allowance::new(limit.most_ahead()));
            let (mut now_ms, mut starts) = (0, Vec::new());
            for (pause, process, tasks) in steps {
                now_ms += pause;
                let now = epoch + Duration::from_millis(now_ms);
                let allowance = &mut processes[process];
                let mut started = 0;
                while started < tasks {
                    match allowance.take(now) {
                        Ok(()) => started += 1,
                        Err(Pause::Ask(wanted)) => {
                            let taken = limit.take(&mut bucket, wanted, now_ms);
                            allowance.granted(taken, limit.wait(&bucket, now_ms), now);
                        }
                        Err(_) => break,
                    }
                }
                starts.push((now_ms, started));
            }
            for (first, (begin, _)) in starts.iter().enumerate() {
                let mut count = 0;
                for (end, started) in &starts[first..] {
                    count += started;
                    let most = operations as f64 * (1.0 + (end - begin) as f64 / 1_000.0);
                    prop_assert!(count as f64 <= most + 1e-6, "{count} in {} ms", end - begin);
                }
            }
        }
    }
}
