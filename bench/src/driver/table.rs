//! Findings as tables in Markdown, which a terminal shows as well.

use std::fmt::Write as _;

use super::Findings;
use super::pairs::{Outcome, cpu_us, median, rss_mib};
use crate::load::Report;

/// The columns of [`pairs`].
pub(crate) const PAIRS: [&str; 8] = [
    "measurement",
    "side",
    "tasks/s",
    "result ms p50 / p99 / p99.9",
    "start ms p50 / p99 / p99.9",
    "server µs, MiB",
    "submitter µs, MiB",
    "worker µs, MiB",
];

/// The kinds of processes, in the order of the columns.
const KINDS: [&str; 3] = ["server", "submitter", "worker"];

/// All of it.
pub(crate) fn of(findings: &Findings) -> String {
    let mut text = format!("{}\n", findings.machine);
    markdown(&mut text, &PAIRS, &pairs(findings));
    markdown(
        &mut text,
        &["backlog", "floor /s", "a3s /s", "a3s/floor"],
        &drains(findings),
    );
    let idle = ["idle worker", "% of a core", "MiB", "ms to its first pull"];
    markdown(&mut text, &idle, &standing(findings));
    let search = [
        "search in files",
        "threads",
        "rg ms",
        "a3s ms",
        "a3s/rg",
        "first byte ms",
    ];
    markdown(&mut text, &search, &searches(findings));
    markdown(&mut text, &["goal", "measured", "met"], &goals(findings));
    text
}

fn markdown(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n| {} |", head.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(head.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
}

/// Three rows for each load: floor, product, and what one is of the other.
pub(crate) fn pairs(findings: &Findings) -> Vec<Vec<String>> {
    let rows = |pair: &Outcome| {
        [
            side(&pair.cell.name, "floor", &pair.floor),
            side("", "a3s", &pair.a3s),
            ratios(pair),
        ]
    };
    findings.pairs.iter().flat_map(rows).collect()
}

fn side(name: &str, side: &str, runs: &[Report]) -> Vec<String> {
    let middle = |of: &dyn Fn(&Report) -> f64| median(runs.iter().map(of));
    let ms = |of: &dyn Fn(&Report) -> u64| middle(&|r| of(r) as f64 / 1000.0);
    let start = |of: &dyn Fn(&a3s_coordinator::bench::Percentiles) -> u64| {
        ms(&|r| r.summary.start_us.as_ref().map_or(0, of))
    };
    let mut row = vec![
        name.to_owned(),
        side.to_owned(),
        format!("{:.0}", middle(&|r| r.summary.per_second)),
        format!(
            "{:.2} / {:.2} / {:.2}",
            ms(&|r| r.summary.result_us.p50),
            ms(&|r| r.summary.result_us.p99),
            ms(&|r| r.summary.result_us.p99_9)
        ),
        format!(
            "{:.2} / {:.2} / {:.2}",
            start(&|p| p.p50),
            start(&|p| p.p99),
            start(&|p| p.p99_9)
        ),
    ];
    row.extend(KINDS.map(|kind| {
        let (cpu, rss) = (middle(&|r| cpu_us(r, kind)), middle(&|r| rss_mib(r, kind)));
        format!("{cpu:.1}, {rss:.0}")
    }));
    row
}

fn ratios(pair: &Outcome) -> Vec<String> {
    let of = |what: &dyn Fn(&Report) -> f64| pair.ratio(what);
    let mut row = vec![
        String::new(),
        "a3s/floor".to_owned(),
        format!("{:.2}", of(&|r| r.summary.per_second)),
        format!(
            "{:.2} / {:.2} / {:.2}",
            of(&|r| r.summary.result_us.p50 as f64),
            of(&|r| r.summary.result_us.p99 as f64),
            of(&|r| r.summary.result_us.p99_9 as f64)
        ),
        String::new(),
    ];
    row.extend(KINDS.map(|kind| format!("{:.2}", of(&|r| cpu_us(r, kind)))));
    row
}

fn drains(findings: &Findings) -> Vec<Vec<String>> {
    let middle = |rates: &[f64]| format!("{:.0}", median(rates.iter().copied()));
    let row = |drain: &super::Drain| {
        vec![
            drain.backlog.to_string(),
            middle(&drain.floor),
            middle(&drain.a3s),
            format!("{:.2}", drain.ratio()),
        ]
    };
    findings.drains.iter().map(row).collect()
}

fn standing(findings: &Findings) -> Vec<Vec<String>> {
    let sides = [("floor", &findings.floor_worker), ("a3s", &findings.worker)];
    let row = |(side, found): (&str, &Option<super::Standing>)| {
        let found = found.as_ref()?;
        Some(vec![
            side.to_owned(),
            format!("{:.2}", found.idle_percent),
            format!("{:.1}", found.rss_mib),
            format!("{:.0}", found.ready()),
        ])
    };
    sides.into_iter().filter_map(row).collect()
}

fn searches(findings: &Findings) -> Vec<Vec<String>> {
    let middle = |times: &[f64]| format!("{:.0}", median(times.iter().copied()));
    let row = |search: &super::Search| {
        vec![
            search.files.to_string(),
            search.threads.to_string(),
            middle(&search.rg_ms),
            middle(&search.a3s_ms),
            format!("{:.2}", search.ratio()),
            format!("{:.0}", search.first()),
        ]
    };
    findings.search.iter().map(row).collect()
}

/// Each goal that something was measured for.
pub(crate) fn goals(findings: &Findings) -> Vec<Vec<String>> {
    let row = |goal: &super::Goal| {
        let met = if goal.met { "yes" } else { "no" };
        vec![
            goal.goal.clone(),
            format!("{:.2}", goal.measured),
            met.to_owned(),
        ]
    };
    findings.goals.iter().map(row).collect()
}
