//! What a session's configuration means. Checked once; everything behind it trusts the values.

use std::path::PathBuf;
use std::time::Duration;

use a3s_shared::protocol::{LaneHandlerConfig, RetryPolicy, RetryStrategy, SessionLane};

use super::{
    DEFAULT_DLQ_SIZE, PriorityBoostConfig, RateLimitConfig, RetryPolicyConfig, SessionQueueConfig,
};
use crate::boost::Boost;
use crate::rate::RateLimit;

/// The window of a priority boost that names none, in milliseconds.
const DEFAULT_BOOST_DEADLINE_MS: u64 = 300_000;

/// A value of a session's configuration that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A lane that could never start a task.
    #[error("max concurrency of lane {lane} is 0: use at least 1")]
    ZeroConcurrency {
        /// The lane.
        lane: SessionLane,
    },
    /// A task that could never finish.
    #[error("{what} is 0 ms: use at least 1, or leave it out")]
    ZeroTimeout {
        /// Which one, in words.
        what: String,
    },
    /// Dead letters that could never be listed.
    #[error("dlq max size is 0: use at least 1, or disable the dlq")]
    ZeroDlqSize,
    /// A lane that would be under pressure when empty.
    #[error("pressure threshold is 0: use at least 1, or leave it out")]
    ZeroPressureThreshold,
    /// A strategy, or limit type, that does not exist.
    #[error("unknown {what} {value:?}: use {expected}")]
    UnknownStrategy {
        /// What it is a strategy of.
        what: &'static str,
        /// As typed.
        value: String,
        /// What exists.
        expected: &'static str,
    },
    /// A rate limit without a number, or with zero.
    #[error("rate limit {limit_type} needs max operations of at least 1")]
    NoRate {
        /// As typed.
        limit_type: String,
    },
    /// A storage path: sessions have no files of their own.
    #[error(
        "storage path {0:?} is not used: tasks are stored by the broker and survive this process; \
         leave it out"
    )]
    StoragePath(PathBuf),
}

/// A session's configuration, checked.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Most tasks queued or running, by lane.
    pub(crate) caps: [usize; 4],
    /// How lanes handle tasks until somebody changes it.
    pub(crate) handlers: [LaneHandlerConfig; 4],
    /// Upper limits of the time from submit to result, by lane, in milliseconds.
    pub(crate) ceilings: [Option<u64>; 4],
    /// Set when the user set one: without it a failing command is never tried again here.
    pub(crate) retry: Option<RetryPolicy>,
    /// None when unlimited.
    pub(crate) rate: Option<RateLimit>,
    /// How waiting tasks gain priority.
    pub(crate) boost: Boost,
    /// How many must wait for a pressure event.
    pub(crate) pressure: Option<usize>,
    /// Whether commands that failed for good here become dead letters.
    pub(crate) bury: bool,
    /// How many dead letters are listed.
    pub(crate) dlq_size: usize,
    /// Whether to count and measure.
    pub(crate) metrics: bool,
    /// Whether to raise alerts.
    pub(crate) alerts: bool,
}

impl Plan {
    /// Checks `config`.
    pub(crate) fn of(config: &SessionQueueConfig) -> Result<Self, ConfigError> {
        if let Some(path) = &config.storage_path {
            return Err(ConfigError::StoragePath(path.clone()));
        }
        if config.dlq_max_size == Some(0) {
            return Err(ConfigError::ZeroDlqSize);
        }
        if config.pressure_threshold == Some(0) {
            return Err(ConfigError::ZeroPressureThreshold);
        }
        Ok(Self {
            caps: caps(config)?,
            handlers: handlers(config)?,
            ceilings: ceilings(config)?,
            retry: config.retry_policy.as_ref().map(retry).transpose()?,
            rate: config.rate_limit.as_ref().map_or(Ok(None), rate)?,
            boost: config
                .priority_boost
                .as_ref()
                .map_or(Ok(Boost::default()), boost)?,
            pressure: config.pressure_threshold,
            bury: config.enable_dlq,
            dlq_size: config.dlq_max_size.unwrap_or(DEFAULT_DLQ_SIZE),
            metrics: config.enable_metrics,
            alerts: config.enable_alerts,
        })
    }
}

fn caps(config: &SessionQueueConfig) -> Result<[usize; 4], ConfigError> {
    let caps = SessionLane::ALL.map(|lane| config.max_concurrency(lane));
    match SessionLane::ALL
        .into_iter()
        .find(|lane| caps[lane.index()] == 0)
    {
        Some(lane) => Err(ConfigError::ZeroConcurrency { lane }),
        None => Ok(caps),
    }
}

fn handlers(config: &SessionQueueConfig) -> Result<[LaneHandlerConfig; 4], ConfigError> {
    for lane in SessionLane::ALL {
        let timeout_ms = config.handler_config(lane).timeout_ms;
        nonzero(timeout_ms, || format!("handler timeout of lane {lane}"))?;
    }
    Ok(SessionLane::ALL.map(|lane| config.handler_config(lane)))
}

fn ceilings(config: &SessionQueueConfig) -> Result<[Option<u64>; 4], ConfigError> {
    if let Some(timeout_ms) = config.default_timeout_ms {
        nonzero(timeout_ms, || "default timeout".to_owned())?;
    }
    for (lane, timeout_ms) in &config.lane_timeouts {
        nonzero(*timeout_ms, || format!("timeout of lane {lane}"))?;
    }
    let of = |lane| {
        config
            .lane_timeouts
            .get(&lane)
            .copied()
            .or(config.default_timeout_ms)
    };
    Ok(SessionLane::ALL.map(of))
}

fn nonzero(timeout_ms: u64, what: impl FnOnce() -> String) -> Result<(), ConfigError> {
    match timeout_ms {
        0 => Err(ConfigError::ZeroTimeout { what: what() }),
        _ => Ok(()),
    }
}

fn retry(config: &RetryPolicyConfig) -> Result<RetryPolicy, ConfigError> {
    let strategy = match config.strategy.as_str() {
        "exponential" => RetryStrategy::Exponential,
        "fixed" => RetryStrategy::Fixed,
        "none" => return Ok(RetryPolicy::none()),
        other => {
            return Err(ConfigError::UnknownStrategy {
                what: "retry strategy",
                value: other.to_owned(),
                expected: "exponential, fixed or none",
            });
        }
    };
    Ok(RetryPolicy {
        strategy,
        max_retries: config.max_retries,
        initial_delay_ms: config.initial_delay_ms,
        fixed_delay_ms: config.fixed_delay_ms,
    })
}

fn rate(config: &RateLimitConfig) -> Result<Option<RateLimit>, ConfigError> {
    let per = match config.limit_type.as_str() {
        "per_second" => Duration::from_secs(1),
        "per_minute" => Duration::from_secs(60),
        "per_hour" => Duration::from_secs(3_600),
        "unlimited" => return Ok(None),
        other => {
            return Err(ConfigError::UnknownStrategy {
                what: "rate limit type",
                value: other.to_owned(),
                expected: "per_second, per_minute, per_hour or unlimited",
            });
        }
    };
    match config.max_operations {
        Some(operations @ 1..) => Ok(Some(RateLimit { operations, per })),
        _ => Err(ConfigError::NoRate {
            limit_type: config.limit_type.clone(),
        }),
    }
}

fn boost(config: &PriorityBoostConfig) -> Result<Boost, ConfigError> {
    let window_ms = config.deadline_ms.unwrap_or(DEFAULT_BOOST_DEADLINE_MS);
    let window = Duration::from_millis(window_ms);
    let boost = match config.strategy.as_str() {
        "standard" => Boost::standard(window),
        "aggressive" => Boost::aggressive(window),
        "disabled" => return Ok(Boost::default()),
        other => {
            return Err(ConfigError::UnknownStrategy {
                what: "priority boost strategy",
                value: other.to_owned(),
                expected: "standard, aggressive or disabled",
            });
        }
    };
    nonzero(window_ms, || "priority boost deadline".to_owned())?;
    Ok(boost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut SessionQueueConfig)) -> String {
        let mut config = SessionQueueConfig::default();
        change(&mut config);
        config.validate().expect_err("makes no sense").to_string()
    }

    #[test]
    fn zero_of_anything_is_refused_by_name() {
        assert_eq!(
            refusal(|c| c.query_max_concurrency = 0),
            "max concurrency of lane Query is 0: use at least 1"
        );
        assert!(refusal(|c| c.default_timeout_ms = Some(0)).starts_with("default timeout is 0"));
        assert!(
            refusal(|c| {
                c.lane_timeouts.insert(SessionLane::Execute, 0);
            })
            .starts_with("timeout of lane Execute is 0")
        );
        assert!(refusal(|c| c.dlq_max_size = Some(0)).starts_with("dlq max size is 0"));
        assert!(refusal(|c| c.pressure_threshold = Some(0)).starts_with("pressure threshold"));
        assert!(
            refusal(|c| c.rate_limit = Some(RateLimitConfig::new("per_hour", 0)))
                .starts_with("rate limit per_hour needs")
        );
    }

    #[test]
    fn an_unknown_strategy_is_refused_with_those_that_exist() {
        assert_eq!(
            refusal(|c| {
                c.retry_policy = Some(RetryPolicyConfig {
                    strategy: "linear".to_owned(),
                    ..RetryPolicyConfig::exponential(1)
                });
            }),
            "unknown retry strategy \"linear\": use exponential, fixed or none"
        );
        assert!(
            refusal(|c| c.rate_limit = Some(RateLimitConfig::new("per_day", 1)))
                .contains("\"per_day\"")
        );
        assert!(
            refusal(|c| c.priority_boost = Some(PriorityBoostConfig::new("max")))
                .contains("standard, aggressive or disabled")
        );
    }

    #[test]
    fn a_storage_path_is_refused_with_the_reason() {
        let text = refusal(|c| c.storage_path = Some("/tmp/queue".into()));
        assert!(text.contains("stored by the broker"), "{text}");
    }

    #[test]
    fn a_lane_timeout_comes_before_the_default_one() {
        let mut config = SessionQueueConfig::default().with_timeout(9_000);
        config.lane_timeouts.insert(SessionLane::Query, 1_000);
        let plan = Plan::of(&config).expect("valid");
        assert_eq!(
            plan.ceilings,
            [Some(9_000), Some(1_000), Some(9_000), Some(9_000)]
        );
    }
}
