//! Counters and latencies of a session, by lane and in all. Memory is bounded: a histogram is a
//! fixed table (about 13 KiB, 1 % exact, 10 µs to 10 hours), however many tasks there are.

use std::collections::BTreeMap;
use std::time::Duration;

use a3s_shared::protocol::{Outcome, SessionLane};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The unit of what histograms hold.
const UNIT: Duration = Duration::from_micros(10);

/// The longest time that is told apart: ten hours.
const LONGEST: u64 = 10 * 3_600 * 100_000;

/// Two significant digits: 1 %.
const DIGITS: u8 = 2;

/// What is counted, by the names that users of A3S Code know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Submitted,
    Completed,
    Failed,
    Timeout,
    Retried,
    DeadLettered,
    Refused,
}

impl Count {
    const ALL: [Self; 7] = [
        Self::Submitted,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Retried,
        Self::DeadLettered,
        Self::Refused,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "lane.commands.submitted",
            Self::Completed => "lane.commands.completed",
            Self::Failed => "lane.commands.failed",
            Self::Timeout => "lane.commands.timeout",
            Self::Retried => "lane.commands.retried",
            Self::DeadLettered => "lane.commands.dead_lettered",
            Self::Refused => "lane.results.refused",
        }
    }

    /// The counter that a task's end belongs to.
    fn of(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::TimedOut => Self::Timeout,
            Outcome::DeadLettered => Self::DeadLettered,
            Outcome::Failed | Outcome::Cancelled | Outcome::Unknown => Self::Failed,
        }
    }
}

/// A distribution of times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct HistogramStats {
    /// How many times were measured.
    pub count: u64,
    /// The shortest.
    pub min: f64,
    /// The longest.
    pub max: f64,
    /// The average.
    pub mean: f64,
    /// Half were shorter.
    pub p50: f64,
    /// 90 % were shorter.
    pub p90: f64,
    /// 95 % were shorter.
    pub p95: f64,
    /// 99 % were shorter.
    pub p99: f64,
}

/// All metrics of a session at one moment.
///
/// Keys of the maps are names like `lane.commands.submitted` for the whole session, and
/// `lane.commands.submitted.query` for a lane.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricsSnapshot {
    /// Tasks that have an outcome.
    pub total_processed: u64,
    /// Those that succeeded, as a part of them; 1 when there are none.
    pub success_rate: f64,
    /// From submit to result, on average.
    pub avg_latency: Duration,
    /// 95 % were faster.
    pub p95_latency: Duration,
    /// 99 % were faster.
    pub p99_latency: Duration,
    /// `lane.commands.{submitted,completed,failed,timeout,retried,dead_lettered}`, and
    /// `lane.results.refused`: results that were not believed.
    pub counters: BTreeMap<String, u64>,
    /// `lane.queue.{depth,active}`, in tasks.
    pub gauges: BTreeMap<String, u64>,
    /// `lane.command.{latency_ms,wait_time_ms}`: from submit to result, and from submit to start.
    pub histograms: BTreeMap<String, HistogramStats>,
}

/// What is measured of a lane, or of all of them.
#[derive(Debug)]
struct Series {
    counts: [u64; 7],
    latency: Histogram<u32>,
    wait: Histogram<u32>,
}

impl Series {
    fn new() -> Self {
        let histogram =
            || Histogram::new_with_max(LONGEST, DIGITS).expect("constants that the crate accepts");
        Self {
            counts: [0; 7],
            latency: histogram(),
            wait: histogram(),
        }
    }
}

/// The metrics of a session.
#[derive(Debug)]
pub(crate) struct Metrics {
    all: Series,
    lanes: [Series; 4],
}

impl Metrics {
    /// Nothing measured yet.
    pub(crate) fn new() -> Self {
        Self {
            all: Series::new(),
            lanes: std::array::from_fn(|_| Series::new()),
        }
    }

    /// Counts `times` events of a kind.
    pub(crate) fn count(&mut self, lane: SessionLane, count: Count, times: u64) {
        for series in [&mut self.all, &mut self.lanes[lane.index()]] {
            series.counts[count as usize] += times;
        }
    }

    /// A task was started after it had waited.
    pub(crate) fn started(&mut self, lane: SessionLane, waited: Duration) {
        for series in [&mut self.all, &mut self.lanes[lane.index()]] {
            series.wait.saturating_record(units(waited));
        }
    }

    /// A task ended, `latency` after its submission.
    pub(crate) fn ended(&mut self, lane: SessionLane, outcome: Outcome, latency: Duration) {
        self.count(lane, Count::of(outcome), 1);
        for series in [&mut self.all, &mut self.lanes[lane.index()]] {
            series.latency.saturating_record(units(latency));
        }
    }

    /// Everything, as users see it. `depth` and `active` are those of each lane now.
    pub(crate) fn snapshot(&self, depth: [usize; 4], active: [usize; 4]) -> MetricsSnapshot {
        let latency = &self.all.latency;
        let completed = self.all.counts[Count::Completed as usize];
        let mut snapshot = MetricsSnapshot {
            total_processed: latency.len(),
            success_rate: ratio(completed, latency.len()),
            avg_latency: UNIT.mul_f64(latency.mean()),
            p95_latency: time(latency.value_at_quantile(0.95)),
            p99_latency: time(latency.value_at_quantile(0.99)),
            ..MetricsSnapshot::default()
        };
        snapshot.add("", &self.all, depth.iter().sum(), active.iter().sum());
        for lane in SessionLane::ALL {
            let suffix = format!(".{}", lane.id());
            let i = lane.index();
            snapshot.add(&suffix, &self.lanes[i], depth[i], active[i]);
        }
        snapshot
    }
}

impl MetricsSnapshot {
    fn add(&mut self, suffix: &str, series: &Series, depth: usize, active: usize) {
        for count in Count::ALL {
            let value = series.counts[count as usize];
            self.counters
                .insert(format!("{}{suffix}", count.name()), value);
        }
        let depth_and_active = [("lane.queue.depth", depth), ("lane.queue.active", active)];
        for (name, value) in depth_and_active {
            self.gauges.insert(format!("{name}{suffix}"), value as u64);
        }
        let times = [
            ("lane.command.latency_ms", &series.latency),
            ("lane.command.wait_time_ms", &series.wait),
        ];
        for (name, histogram) in times {
            self.histograms
                .insert(format!("{name}{suffix}"), stats(histogram));
        }
    }
}

fn stats(histogram: &Histogram<u32>) -> HistogramStats {
    if histogram.is_empty() {
        return HistogramStats::default();
    }
    let ms = |value: u64| time(value).as_secs_f64() * 1_000.0;
    let at = |quantile| ms(histogram.value_at_quantile(quantile));
    HistogramStats {
        count: histogram.len(),
        min: ms(histogram.min()),
        max: ms(histogram.max()),
        mean: UNIT.mul_f64(histogram.mean()).as_secs_f64() * 1_000.0,
        p50: at(0.50),
        p90: at(0.90),
        p95: at(0.95),
        p99: at(0.99),
    }
}

fn units(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / UNIT.as_nanos()).unwrap_or(LONGEST)
}

fn time(units: u64) -> Duration {
    Duration::from_micros(units.saturating_mul(10))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 tasks")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        1.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_metric_is_in_the_snapshot() {
        let snapshot = Metrics::new().snapshot([0; 4], [0; 4]);
        assert_eq!(snapshot.counters.len(), 7 * 5);
        assert_eq!(snapshot.gauges.len(), 2 * 5);
        assert_eq!(snapshot.histograms.len(), 2 * 5);
        assert_eq!(snapshot.success_rate, 1.0);
    }

    #[test]
    fn percentiles_are_exact_to_a_hundredth() {
        let mut metrics = Metrics::new();
        for ms in 1..=1_000 {
            let outcome = if ms % 4 == 0 {
                Outcome::Failed
            } else {
                Outcome::Completed
            };
            metrics.ended(SessionLane::Query, outcome, Duration::from_millis(ms));
        }
        let snapshot = metrics.snapshot([3, 0, 0, 0], [0, 2, 0, 0]);
        assert_eq!(snapshot.total_processed, 1_000);
        assert_eq!(snapshot.success_rate, 0.75);
        for (got, want) in [(snapshot.p95_latency, 0.95), (snapshot.p99_latency, 0.99)] {
            let got = got.as_secs_f64();
            assert!((got - want).abs() / want < 0.01, "{got} is not {want}");
        }
        assert_eq!(snapshot.counters["lane.commands.failed.query"], 250);
        assert_eq!(snapshot.gauges["lane.queue.depth"], 3);
        assert_eq!(
            snapshot.histograms["lane.command.latency_ms.query"].count,
            1_000
        );
        assert_eq!(
            snapshot.histograms["lane.command.latency_ms.execute"].count,
            0
        );
    }

    #[test]
    fn a_time_beyond_the_table_is_its_longest() {
        let mut metrics = Metrics::new();
        metrics.started(SessionLane::Control, Duration::from_secs(1_000_000));
        let waits = metrics.snapshot([0; 4], [0; 4]).histograms["lane.command.wait_time_ms"];
        assert_eq!(waits.count, 1);
    }
}
