//! What came out of a measurement: each run, and the medians over the pairs.

use serde::Serialize;

use super::matrix::Cell;
use super::turn::Side;
use crate::load::Report;

/// A measurement and its runs, those of a pair at the same place.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// What was measured.
    pub(crate) cell: Cell,
    /// The floor's runs.
    pub(crate) floor: Vec<Report>,
    /// The product's.
    pub(crate) a3s: Vec<Report>,
}

impl Outcome {
    /// Nothing yet.
    pub(crate) fn of(cell: Cell) -> Self {
        Self {
            cell,
            floor: Vec::new(),
            a3s: Vec::new(),
        }
    }

    /// Adds a run.
    pub(crate) fn push(&mut self, side: Side, report: Report) {
        match side {
            Side::Floor => self.floor.push(report),
            Side::Product => self.a3s.push(report),
        }
    }

    /// The median over the pairs of product divided by floor. None when the floor's number was
    /// too small to be seen in every pair, as the CPU time of a few tasks is.
    pub(crate) fn ratio(&self, of: impl Fn(&Report) -> f64) -> Option<f64> {
        let pairs = self.floor.iter().zip(&self.a3s);
        let seen = pairs.map(|(floor, a3s)| (of(floor), of(a3s)));
        let mut ratios = seen
            .filter(|(floor, _)| *floor > 0.0)
            .map(|(floor, a3s)| a3s / floor)
            .peekable();
        ratios.peek()?;
        Some(median(ratios))
    }
}

/// The middle of some numbers; of an even count the mean of the two in the middle. 0 of none.
pub(crate) fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    match numbers.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => numbers[middle],
        _ => f64::midpoint(numbers[middle - 1], numbers[middle]),
    }
}

/// CPU time that one task took of the processes of this kind, in microseconds.
pub(crate) fn cpu_us(report: &Report, kind: &str) -> f64 {
    let spent = report.usage.get(kind).map_or(0, |usage| usage.cpu_us);
    spent as f64 / (report.summary.tasks.max(1)) as f64
}

/// Resident memory of the processes of this kind, in MiB.
pub(crate) fn rss_mib(report: &Report, kind: &str) -> f64 {
    report.usage.get(kind).map_or(0, |usage| usage.rss_kib) as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle() {
        assert!((median([9.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 2.0, 9.0].into_iter()) - 3.0).abs() < f64::EPSILON);
    }
}
