//! One truth for all workers: plays coordinator, other workers and a broken network against a
//! worker program, and says what it gets wrong. `docs/conformance.md` is its manual.
//!
//! * [`suite`]: runs cases; [`cases`]: what is tested, a file a topic; [`report`]: what is said.
//! * [`rig`]: a real server and the worker under test; [`task`], [`observe`], [`tap`]: what cases
//!   publish, wait for, and overhear; [`wait`]: waits with a bound.
//! * [`fixtures`]: the golden messages.
//! * [`tools`]: the tools of the contract, for the Rust worker; [`wrong`]: a worker that makes
//!   mistakes, for the tests of the suite itself.
//!
//! It knows of the worker nothing but the wire. Tasks are published as a stranger would, header
//! by header, so that a mistake in our own client cannot hide one in our own worker.

pub mod cases;
pub mod fixtures;
pub mod observe;
pub mod report;
pub mod rig;
pub mod suite;
pub mod tap;
pub mod task;
pub mod tools;
pub mod wait;
pub mod wrong;
