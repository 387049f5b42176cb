//! Every body that is read from the wire, in both encodings: none panics, and what can be read is
//! the same after it was written and read again.

#![no_main]

use std::fmt::Debug;

use a3s_shared::protocol::{
    CancelMarker, DeadLetter, Encoding, Event, Presence, SessionRecord, TaskBody, TaskRecord,
    TaskResult,
};
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Reads and writes `body` as a `T`. Also in the encoding that a reader would guess.
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(body: &[u8]) {
    for encoding in [
        Encoding::MessagePack,
        Encoding::Json,
        Encoding::of(None, body),
    ] {
        let Ok(read) = encoding.decode::<T>(body) else {
            continue;
        };
        let written = encoding.encode(&read);
        let again = encoding.decode::<T>(&written);
        assert_eq!(again.as_ref().ok(), Some(&read), "{encoding}: {again:?}");
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else {
        return;
    };
    match kind % 8 {
        0 => check::<TaskBody>(body),
        1 => check::<TaskResult>(body),
        2 => check::<TaskRecord>(body),
        3 => check::<CancelMarker>(body),
        4 => check::<DeadLetter>(body),
        5 => check::<Event>(body),
        6 => check::<Presence>(body),
        _ => check::<SessionRecord>(body),
    }
});
