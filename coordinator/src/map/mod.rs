//! One shell command for each argument, with the habits of GNU parallel.
//!
//! Nothing here knows the broker or prints:
//! * [`template`]: `{}` and its relatives, shell-quoted;
//! * [`arguments`]: what stands before and after `:::`;
//! * [`halt`]: when a failure ends the rest;
//! * [`job`]: what became of one command, and the exit status of all;
//! * [`report`]: the table and the JUnit file.

pub(crate) mod arguments;
pub(crate) mod halt;
pub(crate) mod job;
pub(crate) mod report;
pub(crate) mod template;
