//! Outcomes as a table in Markdown, which a terminal shows as well.

use std::fmt::Write as _;

use super::pairs::{Outcome, cpu_us, median, rss_mib};
use crate::load::Report;

/// The table's head.
const HEAD: &str = "\
| measurement | side | tasks/s | result p50 / p99 / p99.9 ms | start p50 / p99 ms | CPU µs a task: server, submitter, worker | RSS MiB: server, submitter, worker |
|---|---|---|---|---|---|---|
";

/// All outcomes.
pub(crate) fn of(outcomes: &[Outcome]) -> String {
    let mut text = HEAD.to_owned();
    for outcome in outcomes {
        row(&mut text, &outcome.cell.name, "floor", &outcome.floor);
        row(&mut text, "", "a3s", &outcome.a3s);
        let ratio = |of: &dyn Fn(&Report) -> f64| outcome.ratio(of);
        let cpu = |kind: &'static str| ratio(&move |r| cpu_us(r, kind));
        let _ = writeln!(
            text,
            "| | **a3s/floor** | **{:.2}** | {:.2} / {:.2} / {:.2} | | {:.2}, {:.2}, {:.2} | |",
            ratio(&|r| r.summary.per_second),
            ratio(&|r| r.summary.result_us.p50 as f64),
            ratio(&|r| r.summary.result_us.p99 as f64),
            ratio(&|r| r.summary.result_us.p99_9 as f64),
            cpu("server"),
            cpu("submitter"),
            cpu("worker"),
        );
    }
    text
}

fn row(text: &mut String, name: &str, side: &str, runs: &[Report]) {
    let middle = |of: &dyn Fn(&Report) -> f64| median(runs.iter().map(of));
    let ms = |of: &dyn Fn(&Report) -> u64| middle(&|r| of(r) as f64 / 1000.0);
    let start = |r: &Report, p99: bool| {
        let start = r.summary.start_us;
        start.map_or(0, |start| if p99 { start.p99 } else { start.p50 })
    };
    let _ = writeln!(
        text,
        "| {name} | {side} | {:.0} | {:.2} / {:.2} / {:.2} | {:.2} / {:.2} | {:.1}, {:.1}, {:.1} | {:.0}, {:.0}, {:.0} |",
        middle(&|r| r.summary.per_second),
        ms(&|r| r.summary.result_us.p50),
        ms(&|r| r.summary.result_us.p99),
        ms(&|r| r.summary.result_us.p99_9),
        ms(&|r| start(r, false)),
        ms(&|r| start(r, true)),
        middle(&|r| cpu_us(r, "server")),
        middle(&|r| cpu_us(r, "submitter")),
        middle(&|r| cpu_us(r, "worker")),
        middle(&|r| rss_mib(r, "server")),
        middle(&|r| rss_mib(r, "submitter")),
        middle(&|r| rss_mib(r, "worker")),
    );
}
