//! The nested parts of a session's configuration, as typed. Strategies are text, as users of A3S
//! Code know them; what the text means is decided in `plan`.

use serde::{Deserialize, Serialize};

/// How often and how soon a task is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryPolicyConfig {
    /// `exponential`, `fixed` or `none`.
    pub strategy: String,
    /// Attempts after the first. Default: 3.
    #[serde(alias = "max_retries", default = "default_max_retries")]
    pub max_retries: u32,
    /// The first wait of `exponential`, in milliseconds; it doubles each time, up to 30 s, and is
    /// spread by up to a half. Default: 100.
    #[serde(alias = "initial_delay_ms", default = "default_initial_delay_ms")]
    pub initial_delay_ms: u64,
    /// The wait of `fixed`, in milliseconds. Default: the initial delay.
    #[serde(
        alias = "fixed_delay_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub fixed_delay_ms: Option<u64>,
}

const fn default_max_retries() -> u32 {
    3
}

const fn default_initial_delay_ms() -> u64 {
    100
}

impl RetryPolicyConfig {
    /// Waits that double, beginning with 100 ms.
    #[must_use]
    pub fn exponential(max_retries: u32) -> Self {
        Self {
            strategy: "exponential".to_owned(),
            max_retries,
            initial_delay_ms: default_initial_delay_ms(),
            fixed_delay_ms: None,
        }
    }

    /// Waits of `delay_ms` milliseconds each.
    #[must_use]
    pub fn fixed(max_retries: u32, delay_ms: u64) -> Self {
        Self {
            strategy: "fixed".to_owned(),
            fixed_delay_ms: Some(delay_ms),
            ..Self::exponential(max_retries)
        }
    }
}

/// How many tasks of a session are started per time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimitConfig {
    /// `per_second`, `per_minute`, `per_hour` or `unlimited`.
    #[serde(alias = "limit_type")]
    pub limit_type: String,
    /// How many in that time. Needed unless `unlimited`.
    #[serde(
        alias = "max_operations",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub max_operations: Option<u64>,
}

impl RateLimitConfig {
    /// `max_operations` in the time that `limit_type` names.
    #[must_use]
    pub fn new(limit_type: impl Into<String>, max_operations: u64) -> Self {
        Self {
            limit_type: limit_type.into(),
            max_operations: Some(max_operations),
        }
    }
}

/// Whether waiting tasks gain priority as their time runs out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PriorityBoostConfig {
    /// `standard`, `aggressive` or `disabled`.
    pub strategy: String,
    /// The time from submit at which a task is most urgent, in milliseconds; its own timeout when
    /// that is shorter. Default: 300,000.
    #[serde(
        alias = "deadline_ms",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline_ms: Option<u64>,
}

impl PriorityBoostConfig {
    /// A boost with the default deadline.
    #[must_use]
    pub fn new(strategy: impl Into<String>) -> Self {
        Self {
            strategy: strategy.into(),
            deadline_ms: None,
        }
    }
}
