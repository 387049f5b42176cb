//! Pulls tasks from NATS JetStream, runs them and publishes their results.
//!
//! * [`tool`], [`context`], [`workspace`], [`registry`]: what a tool is and what it may use;
//!   [`tools`]: the built-in ones, one file each.
//! * [`worker`]: a worker's life; [`config`]: what it is told; `binding`: what it pulls from.
//! * `puller`: the loop; `pulls`: what it asks (pure); `slots`: how much fits.
//! * `delivery`, `lease`, `executor`, `settle`: a task's way through a worker; `judge` and
//!   `answers` say what is to be done about it (pure); [`steps`] are its moments, for tests of
//!   crashes.
//! * `cancels`, `progress`, `presence`: what it hears and says meanwhile.

mod answers;
mod binding;
mod cancels;
pub mod cli;
pub mod config;
pub mod context;
mod delivery;
mod executor;
mod judge;
mod lease;
mod presence;
mod progress;
mod puller;
mod pulls;
pub mod registry;
mod settle;
mod slots;
pub mod steps;
pub mod tool;
pub mod tools;
pub mod worker;
pub mod workspace;
