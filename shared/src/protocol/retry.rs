//! When a task that asked for another attempt gets it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest wait between two attempts, in milliseconds.
pub(crate) const MAX_DELAY_MS: u64 = 30_000;

/// How the wait grows from attempt to attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RetryStrategy {
    /// Doubles each time, up to 30 s.
    Exponential,
    /// Stays the same.
    Fixed,
    /// There is one attempt only.
    None,
}

/// How often and how soon a task is tried again.
///
/// On the wire it is two headers: `A3s-Max-Attempts`, and `A3s-Retry-Delay`
/// (`exponential:100` or `fixed:500`, in milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    /// Default: exponential.
    pub strategy: RetryStrategy,
    /// Attempts after the first. Default: 3.
    #[serde(alias = "maxRetries")]
    pub max_retries: u32,
    /// The first wait of the exponential strategy, in milliseconds. Default: 100.
    #[serde(alias = "initialDelayMs")]
    pub initial_delay_ms: u64,
    /// The wait of the fixed strategy, in milliseconds. Default: the initial delay.
    #[serde(alias = "fixedDelayMs", skip_serializing_if = "Option::is_none")]
    pub fixed_delay_ms: Option<u64>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            strategy: RetryStrategy::Exponential,
            max_retries: 3,
            initial_delay_ms: 100,
            fixed_delay_ms: None,
        }
    }
}

impl RetryPolicy {
    /// One attempt, no retry.
    #[must_use]
    pub fn none() -> Self {
        Self {
            strategy: RetryStrategy::None,
            max_retries: 0,
            ..Self::default()
        }
    }

    /// How many attempts a task has in all.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        match self.strategy {
            RetryStrategy::None => 1,
            _ => self.max_retries.saturating_add(1),
        }
    }

    /// The wait before the attempt that follows attempt `attempt` (from 1), in milliseconds.
    /// `jitter` between 0 and 1 spreads it over the upper half, so that tasks which failed
    /// together do not return together.
    #[must_use]
    pub fn delay_ms(&self, attempt: u32, jitter: f64) -> u64 {
        let base = match self.strategy {
            RetryStrategy::None => 0,
            RetryStrategy::Fixed => self.fixed_delay_ms.unwrap_or(self.initial_delay_ms),
            RetryStrategy::Exponential => {
                let doublings = attempt.saturating_sub(1).min(30);
                self.initial_delay_ms.saturating_mul(1 << doublings)
            }
        };
        let full = base.min(MAX_DELAY_MS);
        let spread = full / 2;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "at most 15,000"
        )]
        let part = (spread as f64 * jitter.clamp(0.0, 1.0)) as u64;
        full - spread + part
    }
}

impl fmt::Display for RetryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.strategy {
            RetryStrategy::None => f.write_str("none"),
            RetryStrategy::Exponential => write!(f, "exponential:{}", self.initial_delay_ms),
            RetryStrategy::Fixed => {
                let delay = self.fixed_delay_ms.unwrap_or(self.initial_delay_ms);
                write!(f, "fixed:{delay}")
            }
        }
    }
}

/// A retry delay that is not `exponential:MS`, `fixed:MS` or `none`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown retry delay {0:?}: use exponential:MS, fixed:MS or none")]
pub struct UnknownRetryDelay(String);

impl FromStr for RetryPolicy {
    type Err = UnknownRetryDelay;

    /// Reads the delay; the number of attempts is the default's.
    fn from_str(text: &str) -> Result<Self, UnknownRetryDelay> {
        let unknown = || UnknownRetryDelay(text.to_owned());
        if text == "none" {
            return Ok(Self::none());
        }
        let (strategy, delay) = text.split_once(':').ok_or_else(unknown)?;
        let delay = delay.parse().map_err(|_| unknown())?;
        let policy = Self::default();
        match strategy {
            "exponential" => Ok(Self {
                initial_delay_ms: delay,
                ..policy
            }),
            "fixed" => Ok(Self {
                strategy: RetryStrategy::Fixed,
                fixed_delay_ms: Some(delay),
                ..policy
            }),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_are_capped_and_spread_over_the_upper_half() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay_ms(1, 0.0), 50);
        assert_eq!(policy.delay_ms(1, 1.0), 100);
        assert_eq!(policy.delay_ms(3, 1.0), 400);
        assert_eq!(policy.delay_ms(60, 1.0), MAX_DELAY_MS);
        assert_eq!(policy.max_attempts(), 4);
        assert_eq!(RetryPolicy::none().max_attempts(), 1);
    }

    #[test]
    fn the_header_form_is_read_back() {
        for text in ["exponential:250", "fixed:10", "none"] {
            let policy: RetryPolicy = text.parse().expect("a delay");
            assert_eq!(policy.to_string(), text);
        }
        assert!("linear:3".parse::<RetryPolicy>().is_err());
    }
}
