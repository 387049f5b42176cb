//! Measures a deployment: keeps so many no-op tasks in flight, and times each of them.
//!
//! Workers have a tool for it, `noop`, which answers at once; what is left is the way there and
//! back. The verb `a3s-coordinator bench` and the project's own benchmark both stand on this.
//!
//! * `load`: what is submitted. `drive`: submits it. `timings`: what was seen.

mod drive;
mod load;
mod timings;

pub use drive::{BenchError, drive, open_sessions};
pub use load::{Load, Until};
pub use timings::{Percentiles, Summary, Timings};
