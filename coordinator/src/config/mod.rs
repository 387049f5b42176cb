//! A session's configuration as users of A3S Code write it: in Rust, or as JSON in camelCase
//! (snake_case is read too).
//!
//! * this file: the fields, their defaults and the builders.
//! * `options`: the three nested parts, as typed.
//! * `plan`: what all of it means, checked once, when the session is opened.

mod options;
mod plan;

use std::collections::HashMap;
use std::path::PathBuf;

use a3s_shared::protocol::{DEFAULT_TIMEOUT_MS, LaneHandlerConfig, SessionLane, TaskHandlerMode};
use serde::{Deserialize, Serialize};

pub use options::{PriorityBoostConfig, RateLimitConfig, RetryPolicyConfig};
pub use plan::ConfigError;
pub(crate) use plan::Plan;

/// How many dead letters of a session are listed when nothing else is said.
pub const DEFAULT_DLQ_SIZE: usize = 1_000;

/// How a session queues, runs and reports its tasks.
///
/// Checked when the session is opened: see [`ConfigError`] for what is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionQueueConfig {
    /// Control tasks queued or running at a time. Default: 2.
    #[serde(alias = "control_max_concurrency")]
    pub control_max_concurrency: usize,
    /// Query tasks queued or running at a time. Default: 4.
    #[serde(alias = "query_max_concurrency")]
    pub query_max_concurrency: usize,
    /// Execute tasks queued or running at a time. Default: 2.
    #[serde(alias = "execute_max_concurrency")]
    pub execute_max_concurrency: usize,
    /// Generate tasks queued or running at a time. Default: 1.
    #[serde(alias = "generate_max_concurrency")]
    pub generate_max_concurrency: usize,
    /// Who handles the tasks of a lane. Default for each: `Internal`, 60,000 ms.
    #[serde(alias = "lane_handlers")]
    pub lane_handlers: HashMap<SessionLane, LaneHandlerConfig>,
    /// Whether a command that fails for good in this process is kept among the dead letters.
    /// Tasks that workers give up are kept in any case. Default: false.
    #[serde(alias = "enable_dlq")]
    pub enable_dlq: bool,
    /// How many of the newest dead letters are listed. Default: 1,000.
    #[serde(alias = "dlq_max_size", skip_serializing_if = "Option::is_none")]
    pub dlq_max_size: Option<usize>,
    /// Whether [`queue_metrics`](crate::Session::queue_metrics) has an answer. Default: false.
    #[serde(alias = "enable_metrics")]
    pub enable_metrics: bool,
    /// Whether a deep queue raises alerts (50 warning, 100 critical). Default: false.
    #[serde(alias = "enable_alerts")]
    pub enable_alerts: bool,
    /// The longest time from submit to result in a lane that `lane_timeouts` does not name, in
    /// milliseconds. Default: none but that of the lane's handler.
    #[serde(alias = "default_timeout_ms", skip_serializing_if = "Option::is_none")]
    pub default_timeout_ms: Option<u64>,
    /// Superseded: the broker is the storage. A value is refused.
    #[serde(alias = "storage_path", skip_serializing_if = "Option::is_none")]
    pub storage_path: Option<PathBuf>,
    /// How often a task is tried, in every lane. Default: workers try tasks of Control and Query
    /// again after a crash (exponential, 3 retries) and others never; a command that fails in
    /// this process is not tried again.
    #[serde(alias = "retry_policy", skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicyConfig>,
    /// How many tasks are started per time, by all processes of the session together: each of
    /// them should say the same. While the broker is away, none starts. Default: unlimited.
    #[serde(alias = "rate_limit", skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitConfig>,
    /// Whether waiting tasks overtake higher lanes as their time runs out. Default: no.
    #[serde(alias = "priority_boost", skip_serializing_if = "Option::is_none")]
    pub priority_boost: Option<PriorityBoostConfig>,
    /// How many tasks must wait in a lane for a pressure event. Default: no such events.
    #[serde(alias = "pressure_threshold", skip_serializing_if = "Option::is_none")]
    pub pressure_threshold: Option<usize>,
    /// The longest time from submit to result, by lane, in milliseconds. Shortens the handler's
    /// timeout, never lengthens it.
    #[serde(alias = "lane_timeouts")]
    pub lane_timeouts: HashMap<SessionLane, u64>,
}

impl Default for SessionQueueConfig {
    fn default() -> Self {
        Self {
            control_max_concurrency: SessionLane::Control.default_max_concurrency(),
            query_max_concurrency: SessionLane::Query.default_max_concurrency(),
            execute_max_concurrency: SessionLane::Execute.default_max_concurrency(),
            generate_max_concurrency: SessionLane::Generate.default_max_concurrency(),
            lane_handlers: HashMap::new(),
            enable_dlq: false,
            dlq_max_size: None,
            enable_metrics: false,
            enable_alerts: false,
            default_timeout_ms: None,
            storage_path: None,
            retry_policy: None,
            rate_limit: None,
            priority_boost: None,
            pressure_threshold: None,
            lane_timeouts: HashMap::new(),
        }
    }
}

impl SessionQueueConfig {
    /// How many tasks of `lane` may be queued or running.
    #[must_use]
    pub fn max_concurrency(&self, lane: SessionLane) -> usize {
        match lane {
            SessionLane::Control => self.control_max_concurrency,
            SessionLane::Query => self.query_max_concurrency,
            SessionLane::Execute => self.execute_max_concurrency,
            SessionLane::Generate => self.generate_max_concurrency,
        }
    }

    /// Who handles the tasks of `lane`.
    #[must_use]
    pub fn handler_config(&self, lane: SessionLane) -> LaneHandlerConfig {
        self.lane_handlers.get(&lane).copied().unwrap_or_default()
    }

    /// Dead letters, metrics, alerts, and 60,000 ms for every task.
    #[must_use]
    pub fn with_lane_features(self) -> Self {
        self.with_dlq(Some(DEFAULT_DLQ_SIZE))
            .with_metrics()
            .with_alerts()
            .with_timeout(DEFAULT_TIMEOUT_MS)
    }

    /// Sets who handles the tasks of `lane`.
    #[must_use]
    pub fn with_lane_handler(mut self, lane: SessionLane, handler: LaneHandlerConfig) -> Self {
        self.lane_handlers.insert(lane, handler);
        self
    }

    /// Sends the tasks of all four lanes to workers; their timeouts stay.
    #[must_use]
    pub fn with_external_lanes(mut self) -> Self {
        for lane in SessionLane::ALL {
            let handler = self.lane_handlers.entry(lane).or_default();
            handler.mode = TaskHandlerMode::External;
        }
        self
    }

    /// Keeps commands that failed for good; lists the newest `max_size` (default 1,000).
    #[must_use]
    pub fn with_dlq(mut self, max_size: Option<usize>) -> Self {
        self.enable_dlq = true;
        self.dlq_max_size = max_size;
        self
    }

    /// Counts and measures.
    #[must_use]
    pub fn with_metrics(mut self) -> Self {
        self.enable_metrics = true;
        self
    }

    /// Raises alerts.
    #[must_use]
    pub fn with_alerts(mut self) -> Self {
        self.enable_alerts = true;
        self
    }

    /// Sets the longest time from submit to result, in milliseconds.
    #[must_use]
    pub fn with_timeout(mut self, timeout_ms: u64) -> Self {
        self.default_timeout_ms = Some(timeout_ms);
        self
    }

    /// Checks every value without opening a session.
    ///
    /// # Errors
    /// [`ConfigError`], for the first value that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Plan::of(self).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn serde_defaults_equal_rust_defaults() {
        let read: SessionQueueConfig = serde_json::from_value(json!({})).expect("all optional");
        assert_eq!(read, SessionQueueConfig::default());
    }

    #[test]
    fn camel_case_is_written_and_both_casings_are_read() {
        let config = SessionQueueConfig {
            query_max_concurrency: 20,
            retry_policy: Some(RetryPolicyConfig::fixed(5, 250)),
            rate_limit: Some(RateLimitConfig::new("per_minute", 30)),
            priority_boost: Some(PriorityBoostConfig::new("standard")),
            lane_timeouts: HashMap::from([(SessionLane::Query, 5_000)]),
            ..SessionQueueConfig::default()
                .with_lane_features()
                .with_external_lanes()
        };
        let written = serde_json::to_value(&config).expect("a config");
        assert_eq!(written["queryMaxConcurrency"], 20);
        assert_eq!(written["retryPolicy"]["fixedDelayMs"], 250);
        let read: SessionQueueConfig = serde_json::from_value(written).expect("its own form");
        assert_eq!(read, config);

        let snake: SessionQueueConfig = serde_json::from_value(json!({
            "query_max_concurrency": 20, "enable_dlq": true, "dlq_max_size": 1_000,
            "enable_metrics": true, "enable_alerts": true, "default_timeout_ms": 60_000,
            "retry_policy": {"strategy": "fixed", "max_retries": 5, "fixed_delay_ms": 250},
            "rate_limit": {"limit_type": "per_minute", "max_operations": 30},
            "priority_boost": {"strategy": "standard"},
            "lane_timeouts": {"query": 5_000},
            "lane_handlers": {
                "control": {"mode": "external"}, "Query": {"mode": "External"},
                "execute": {"mode": "external", "timeoutMs": 60_000}, "generate": {"mode": "external"},
            },
        }))
        .expect("snake case");
        assert_eq!(snake, config);
    }
}
