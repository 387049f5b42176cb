//! Pulls tasks from NATS JetStream, runs them and publishes their results.
//!
//! * [`tool`], [`context`], [`workspace`], [`registry`]: what a tool is and what it may use;
//!   [`tools`]: the built-in ones, one file each.
//! * [`policy`]: what its tasks may do (pure); [`sandbox`]: what holds programs to it; `reach`: what
//!   holds files to it.
//! * [`worker`]: a worker's life; [`config`]: what it is told; `binding`: what it pulls from;
//!   [`turn`]: when, if others of its pool would take the same task.
//! * `puller`: the loop; `pulls`: what it asks (pure); `slots`: how much fits.
//! * `delivery`, `lease`, `executor`, `settle`: a task's way through a worker; `judge` and
//!   `answers` say what is to be done about it (pure); [`steps`] are its moments, for tests of
//!   crashes.
//! * `checkout`: the trees that tasks name, as directories.
//! * `trust`: whom it runs tasks for, where that is checked.
//! * `rights`: whether its credential is enough, asked before the first task.
//! * `cancels`, `progress`, `presence`: what it hears and says meanwhile.

mod acks;
mod answers;
mod binding;
mod bury;
mod cancels;
mod checkout;
pub mod cli;
pub mod config;
pub mod context;
mod delivery;
mod executor;
mod judge;
mod lease;
#[cfg(test)]
mod lifecycle_tests;
pub mod policy;
mod presence;
mod progress;
mod puller;
mod pulls;
mod reach;
pub mod registry;
mod rights;
pub mod sandbox;
mod settle;
mod slots;
pub mod steps;
pub mod tool;
pub mod tools;
mod trust;
pub mod turn;
pub mod worker;
pub mod workspace;
