//! Files to the broker and back. What is said of them on the wire is in
//! [`protocol`](crate::protocol); who decides which files these are is above.
//!
//! * [`read`]: a file's content and when it counts as unchanged.
//! * [`pack`]: contents, many to a message. [`text`]: manifests and places, in packs too.
//! * [`send`] and [`fetch`]: contents to the broker, and from it into files, each verified.

pub mod fetch;
pub mod pack;
pub mod read;
pub mod send;
pub mod text;
