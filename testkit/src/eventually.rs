//! Waits for a fact.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often the fact is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Asks `probe` until it answers `Ok`, and returns what it found. The probe's error says how
/// far things are: `(n == 3).then_some(()).ok_or(format!("{n} of 3 workers"))`.
///
/// # Panics
/// After `bound`, with `what` was expected and the probe's last error.
#[track_caller]
pub fn eventually<T, E, F, Fut>(
    what: &str,
    bound: Duration,
    mut probe: F,
) -> impl Future<Output = T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
    E: Display,
{
    let (what, place) = (what.to_owned(), std::panic::Location::caller());
    async move {
        let end = Instant::now() + bound;
        loop {
            let error = match probe().await {
                Ok(found) => return found,
                Err(error) => error,
            };
            let late = Instant::now() >= end;
            assert!(
                !late,
                "{place}: not within {bound:?}: {what}; at last: {error}"
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_probe_found_is_returned() {
        let mut asked = 0;
        let found = eventually("three", Duration::from_secs(5), || {
            asked += 1;
            std::future::ready(if asked == 3 {
                Ok(asked)
            } else {
                Err("not yet")
            })
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test]
    #[should_panic(expected = "a miracle; at last: nothing happened")]
    async fn the_failure_says_what_was_seen_last() {
        let nothing = || std::future::ready(Err::<(), _>("nothing happened"));
        eventually("a miracle", Duration::from_millis(20), nothing).await;
    }
}
