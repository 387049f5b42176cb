//! What was seen: how long each task took to start and to be answered, and what it adds up to.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time that is told apart from longer ones: ten minutes, in microseconds.
const LONGEST_US: u64 = 600 * 1_000_000;

/// The times of many tasks.
#[derive(Debug, Clone)]
pub struct Timings {
    started: Histogram<u64>,
    answered: Histogram<u64>,
    /// From the first submit to the last answer.
    pub elapsed: Duration,
}

/// Three points of a distribution, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half are faster.
    pub p50: u64,
    /// One in a hundred is slower.
    pub p99: u64,
    /// One in a thousand is slower.
    pub p99_9: u64,
}

/// What [`Timings`] add up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Tasks that were answered.
    pub tasks: u64,
    /// Tasks per second.
    pub per_second: f64,
    /// From submit to the start of the tool. None where the clocks of both ends cannot be compared.
    pub start_us: Option<Percentiles>,
    /// From submit to result.
    pub result_us: Percentiles,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            started: histogram(),
            answered: histogram(),
            elapsed: Duration::ZERO,
        }
    }
}

impl Timings {
    /// Notes a task that was answered this long after its submit.
    pub fn answered(&mut self, after: Duration) {
        record(&mut self.answered, after);
    }

    /// Notes a task that was started this long after its submit.
    pub fn started(&mut self, after: Duration) {
        record(&mut self.started, after);
    }

    /// How many tasks were answered.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.answered.len()
    }

    /// What they add up to.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let seconds = self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        Summary {
            tasks: self.tasks(),
            per_second: self.tasks() as f64 / seconds,
            start_us: (!self.started.is_empty()).then(|| percentiles(&self.started)),
            result_us: percentiles(&self.answered),
        }
    }
}

/// Three digits are kept of each value, as much as a measurement can mean.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(LONGEST_US);
    histogram.saturating_record(micros);
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    Percentiles {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        p99_9: histogram.value_at_quantile(0.999),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_says_how_many_how_fast_and_how_late() {
        let mut timings = Timings::default();
        for ms in 1..=1000 {
            timings.answered(Duration::from_millis(ms));
        }
        timings.elapsed = Duration::from_secs(2);
        let summary = timings.summary();
        assert_eq!((summary.tasks, summary.start_us), (1000, None));
        assert!((summary.per_second - 500.0).abs() < 0.001);
        let near = |found: u64, ms: u64| found.abs_diff(ms * 1000) < ms * 2;
        assert!(near(summary.result_us.p50, 500), "{summary:?}");
        assert!(near(summary.result_us.p99, 990), "{summary:?}");
    }
}
