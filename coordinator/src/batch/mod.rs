//! Many tasks from lines of JSON: what a line means, and what is answered.
//!
//! * [`line`]: one line into a task, or into what is wrong with it;
//! * [`reader`]: the lines of a file, with a bound on their length.

pub(crate) mod line;
pub(crate) mod reader;
