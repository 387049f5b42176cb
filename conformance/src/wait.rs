//! Waits for a fact, with a bound, and says how far things were when it did not come.

use std::fmt::Display;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep};

/// The longest that any one fact may take by default: enough for a machine that is busy with other
/// things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What was asked for. Written once, before the first case.
static BOUND: OnceLock<Duration> = OnceLock::new();

/// The longest that any one fact may take.
#[must_use]
pub fn bound() -> Duration {
    *BOUND.get().unwrap_or(&PATIENCE)
}

/// Sets [`bound`]; the first call counts.
pub fn set_bound(patience: Duration) {
    let _ = BOUND.set(patience);
}

/// How often the fact is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers `Ok`, and returns what it found. Its error says how far things
/// are.
///
/// # Errors
/// After [`bound`]: what was expected, and the probe's last error.
pub async fn until<T, E: Display>(
    what: &str,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let end = Instant::now() + bound();
    loop {
        match probe().await {
            Ok(found) => return Ok(found),
            Err(error) if Instant::now() >= end => {
                bail!(
                    "{what}: not within {} s; at last: {error:#}",
                    bound().as_secs()
                )
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}
