//! Pulls tasks from NATS JetStream, runs them and publishes their results.
//!
//! * [`tool`], [`context`], [`workspace`], [`registry`]: what a tool is and what it may use.
//! * [`tools`]: the built-in ones, one file each.

pub mod context;
pub mod registry;
pub mod tool;
pub mod tools;
pub mod workspace;
