//! Submits an agent's tool calls to a fleet of workers over NATS JetStream, and collects the
//! results.
//!
//! * [`Coordinator`]: a process; one connection, one view of the fleet. [`Session`]: four lanes
//!   of tasks; `session` has its own map. [`TaskHandle`]: a task's result to be.
//! * [`SessionQueueConfig`], [`SessionCommand`], [`Task`]: what a user says.
//! * `scheduler`, `boost`, `rate`, `allowance`, `alerts`, `unserved`: the decisions, pure.
//! * `metrics`, `stats`: what can be seen. `alarms`: one timer for all sessions.
//! * [`mod@bench`]: measures a deployment with tasks that do nothing.
//! * `records`, `cancels` (and `each_session`, for those who may not watch all): one watch each on what other processes do to sessions and tasks;
//!   `janitor`: clears up after tasks that no worker can finish.

mod alarms;
mod alerts;
mod allowance;
pub mod bench;
mod boost;
mod cancels;
mod command;
mod config;
mod coordinator;
mod each_session;
mod error;
mod handle;
mod janitor;
mod metrics;
mod rate;
mod records;
mod retry;
mod scheduler;
mod session;
mod stats;
mod unserved;

pub use alerts::{Alert, AlertLevel, DEPTH_CRITICAL, DEPTH_WARNING};
pub use command::{SessionCommand, Task};
pub use config::{
    ConfigError, DEFAULT_DLQ_SIZE, PriorityBoostConfig, RateLimitConfig, RetryPolicyConfig,
    SessionQueueConfig,
};
pub use coordinator::Coordinator;
pub use error::{Error, SubmitError, TaskError};
pub use handle::TaskHandle;
pub use metrics::{HistogramStats, MetricsSnapshot};
pub use retry::with_retry;
pub use session::{MAX_WAITING, Session, SessionBuilder};
pub use stats::{LaneStatus, SessionQueueStats};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
