//! A working tree to the workers, and what they changed back.
//!
//! * [`walk`]: which files a tree has. [`memory`]: what is known of them and of the store from the
//!   last time. [`scan`]: the manifest, reading only what changed.
//! * [`push`]: sends what the store lacks. [`pull`]: writes what tasks changed.
//! * [`gc`]: removes what nobody needs.

pub(crate) mod gc;
mod memory;
pub(crate) mod pull;
pub(crate) mod push;
mod scan;
mod walk;
