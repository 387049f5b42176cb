//! Findings as a page with plots.

use super::Findings;
use super::pairs::{Outcome, cpu_us, median};
use super::table::{self, PAIRS};
use crate::load::Report;
use a3s_report::{Chart, Page, bars};

/// The page.
pub(crate) fn of(findings: &Findings) -> Page {
    let page = Page::new("A3S Distributed beside the least that does the same on the broker")
        .fact("machine", &findings.machine)
        .section("Goals")
        .table(&["goal", "measured", "met"], &table::goals(findings))
        .section("Loads")
        .prose(
            "Each side's numbers are medians over its runs; a3s/floor is the median over the \
             pairs, which took turns. Times are in milliseconds, CPU time is in microseconds a \
             task.",
        )
        .table(&PAIRS, &table::pairs(findings));
    let page = in_flight(page, findings);
    let page = processor_time(page, findings);
    if findings.drains.is_empty() {
        return page;
    }
    let rates = |of: fn(&super::Drain) -> &[f64]| {
        let drains = findings.drains.iter();
        let point = |d: &super::Drain| (d.backlog as f64, median(of(d).iter().copied()));
        drains.map(point).collect()
    };
    let chart = Chart::new("tasks that waited", "tasks drained a second")
        .log_x()
        .line("floor", rates(|d| &d.floor))
        .line("a3s", rates(|d| &d.a3s));
    page.section("Backlogs")
        .figure("One worker empties a backlog", &chart.svg())
}

fn in_flight(page: Page, findings: &Findings) -> Page {
    let mut axis: Vec<&Outcome> = findings
        .pairs
        .iter()
        .filter(|pair| pair.cell.name.ends_with("in flight"))
        .collect();
    axis.sort_by_key(|pair| pair.cell.in_flight);
    if axis.len() < 2 {
        return page;
    }
    let points = |runs: fn(&Outcome) -> &[Report], of: fn(&Report) -> f64| {
        let point = |pair: &&Outcome| {
            let middle = median(runs(pair).iter().map(of));
            (pair.cell.in_flight as f64, middle)
        };
        axis.iter().map(point).collect()
    };
    let rate = |report: &Report| report.summary.per_second;
    let p50 = |report: &Report| report.summary.result_us.p50 as f64 / 1000.0;
    let p99 = |report: &Report| report.summary.result_us.p99 as f64 / 1000.0;
    let throughput = Chart::new("tasks in flight", "tasks a second")
        .log_x()
        .line("floor", points(|pair| &pair.floor, rate))
        .line("a3s", points(|pair| &pair.a3s, rate));
    let latency = Chart::new("tasks in flight", "ms from submit to result")
        .log_x()
        .log_y()
        .line("floor p50", points(|pair| &pair.floor, p50))
        .line("a3s p50", points(|pair| &pair.a3s, p50))
        .line("floor p99", points(|pair| &pair.floor, p99))
        .line("a3s p99", points(|pair| &pair.a3s, p99));
    page.figure("Throughput by tasks in flight", &throughput.svg())
        .figure("Latency by tasks in flight", &latency.svg())
}

fn processor_time(page: Page, findings: &Findings) -> Page {
    let Some(pair) = findings.pairs.first() else {
        return page;
    };
    let mut values = Vec::new();
    for (side, runs) in [("floor", &pair.floor), ("a3s", &pair.a3s)] {
        for kind in ["server", "submitter", "worker"] {
            let spent = median(runs.iter().map(|run| cpu_us(run, kind)));
            values.push((format!("{side} {kind}"), (spent * 10.0).round() / 10.0));
        }
    }
    let drawn = bars("process", "CPU µs a task", &values);
    page.figure(&format!("CPU time a task, {}", pair.cell.name), &drawn)
}
