//! What coordinator and worker agree on.
//!
//! * [`protocol`]: what is on the wire. Pure: no I/O, no tokio, no async-nats.
//! * [`broker`]: where it is: subjects, streams, consumers, buckets, and their creation.
//! * [`workspace`]: files to the broker and back: reading, packing, sending, fetching.
//! * [`runtime`]: how a process of ours lives: connection, embedded server, logs, shutdown.

pub mod broker;
pub mod protocol;
pub mod runtime;
pub mod workspace;
