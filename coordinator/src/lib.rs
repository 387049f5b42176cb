//! Submits an agent's tool calls to a fleet of workers over NATS JetStream, and collects the
//! results.

mod alerts;
mod boost;
mod command;
mod config;
mod metrics;
mod rate;
mod retry;
mod scheduler;
mod stats;
mod unserved;

pub use alerts::{Alert, AlertLevel, DEPTH_CRITICAL, DEPTH_WARNING};
pub use command::{SessionCommand, Task};
pub use config::{
    ConfigError, DEFAULT_DLQ_SIZE, PriorityBoostConfig, RateLimitConfig, RetryPolicyConfig,
    SessionQueueConfig,
};
pub use metrics::{HistogramStats, MetricsSnapshot};
pub use retry::with_retry;
pub use stats::{LaneStatus, SessionQueueStats};
