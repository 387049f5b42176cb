//! The floor: the least that does on the broker what the product does for a task.
//!
//! The same streams and consumers, headers, ids and body sizes; a task is accepted when the broker
//! says so; its result is published with the condition that makes it the first, acknowledged by
//! the broker, and only then is the task acknowledged, by a request. Nothing else: no lanes, no
//! deadlines, no leases, no decoding. Written for speed, with the bare client on one thread.
//!
//! `submit` and `work` are its two programs, `fill` makes a backlog for the second; `wire` is what
//! they agree on.

mod fill;
mod submit;
mod wire;
mod work;

pub(crate) use fill::Fill;
pub(crate) use submit::submit;
pub(crate) use work::Work;
