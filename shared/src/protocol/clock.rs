//! The wall clock of the broker, as this process knows it.
//!
//! Deadlines on the wire are absolute and in the broker's time, so that a machine whose clock is
//! wrong still computes what remains. The runtime measures the offset at each connect; until
//! then it is zero.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Broker time minus local time, in milliseconds. Written by the runtime, read by everyone.
static OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// Local wall clock, in milliseconds since 1970.
#[must_use]
pub fn local_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// The broker's wall clock, in milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    local_now_ms().saturating_add_signed(offset_ms())
}

/// Broker time minus local time, in milliseconds.
#[must_use]
pub fn offset_ms() -> i64 {
    OFFSET_MS.load(Ordering::Relaxed)
}

/// Sets broker time minus local time, in milliseconds.
pub fn set_offset_ms(offset: i64) {
    OFFSET_MS.store(offset, Ordering::Relaxed);
}
