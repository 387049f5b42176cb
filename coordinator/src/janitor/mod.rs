//! Clears up after tasks that no worker can finish. The worker buries what it sees fail; this is
//! the backstop for what no worker sees.
//!
//! * [`mover`]: what the broker gave up itself goes to the dead letters.
//! * [`sweeper`]: what is long past its deadline gets its answer and goes.
//! * [`clear`]: the steps that both share; each may be repeated, by several processes at once.
//!
//! Every process with a coordinator runs both; one that may not (permissions) leaves it to others.

mod clear;
#[cfg(test)]
mod crash_tests;
mod mover;
mod sweeper;

pub(crate) use mover::move_given_up;
pub(crate) use sweeper::sweep_overdue;
