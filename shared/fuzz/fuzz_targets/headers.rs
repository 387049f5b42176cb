//! The headers of a task, as anybody may have written them: none panics, a deadline and a delay
//! are always to be had, and what our own clients write is read back as it was.

#![no_main]

use a3s_shared::protocol::{SessionLane, TaskHeaders};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 10] = [
    "Nats-Msg-Id",
    "A3s-Reply-To",
    "A3s-Deadline",
    "A3s-Max-Attempts",
    "A3s-Retry-Delay",
    "A3s-Effect",
    "Content-Type",
    "traceparent",
    "A3s-Blob",
    "A3s-Workspace",
];

fuzz_target!(|input: (Vec<(u8, String)>, u64, u64, u32)| {
    let (pairs, stored_at, timeout, attempt) = input;
    let given = pairs.iter().map(|(name, value)| {
        let name = NAMES[usize::from(*name) % NAMES.len()];
        (name, value.as_str())
    });
    let headers = TaskHeaders::read(given);
    let _ = headers.deadline(stored_at, timeout);
    let _ = headers.encoding(b"");
    for lane in SessionLane::ALL {
        let _ = headers.effect_in(lane);
        let retry = headers.retry_in(lane);
        assert!(retry.max_attempts() >= 1, "{retry:?}");
        assert!(retry.delay_ms(attempt, 1.0) <= 30_000, "{retry:?}");
    }
    let pairs = headers.into_pairs();
    let own = pairs.iter().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(TaskHeaders::read(own).into_pairs(), pairs, "read back");
});
