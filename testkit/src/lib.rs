//! Real nats-servers, real processes and broken networks for tests.
//!
//! * [`Server`]: a nats-server with its own store and port, gone when dropped.
//! * [`Cluster`]: three of them, which replicate.
//! * [`Proxy`]: a TCP proxy that cuts, swallows or delays what passes.
//! * [`Host`]: a network namespace, so another host as far as the network goes; a cable to pull.
//! * [`Process`]: a program of this workspace, to be killed at the worst moment;
//!   [`binary`] says where it was built.
//! * [`eventually`]: waits for a fact, with a bound and a useful failure.
//!
//! Everything here panics when it cannot do its work: a test has no other use for the error.

mod binaries;
mod cluster;
mod eventually;
mod netns;
mod process;
mod proxy;
mod server;

pub use binaries::binary;
pub use cluster::Cluster;
pub use eventually::eventually;
pub use netns::{Delay, Host, Lack};
pub use process::{Process, ProcessBuilder};
pub use proxy::Proxy;
pub use server::{Server, ServerBuilder};
