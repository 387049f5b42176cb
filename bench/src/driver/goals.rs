//! What the project wants to be, and whether it is. Said, never enforced: a number on somebody's
//! machine is no reason for a failed run, a lost task is.

use serde::Serialize;

use super::Findings;
use super::pairs::{Outcome, cpu_us, median};

/// A goal and what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Goal {
    /// What is wanted.
    pub(crate) goal: String,
    /// What was measured.
    pub(crate) measured: f64,
    /// Whether that is good enough.
    pub(crate) met: bool,
}

fn at_least(goal: &str, limit: f64, measured: f64) -> Goal {
    Goal {
        goal: format!("{goal}: at least {limit}"),
        measured,
        met: measured >= limit,
    }
}

fn at_most(goal: &str, limit: f64, measured: f64) -> Goal {
    Goal {
        goal: format!("{goal}: at most {limit}"),
        measured,
        met: measured <= limit,
    }
}

/// All goals that something was measured for.
pub(crate) fn of(findings: &Findings) -> Vec<Goal> {
    let mut goals = Vec::new();
    let pair = |name: &str| findings.pairs.iter().find(|pair| pair.cell.name == name);
    for name in ["64 in flight", "512 in flight"] {
        let Some(pair) = pair(name) else { continue };
        let ratio = pair.ratio(|r| r.summary.per_second);
        goals.push(at_least(
            &format!("tasks/s, a3s/floor, {name}"),
            0.85,
            ratio,
        ));
        for kind in ["submitter", "worker"] {
            let ratio = pair.ratio(|r| cpu_us(r, kind));
            goals.push(at_most(
                &format!("CPU a task of the {kind}, a3s/floor, {name}"),
                2.0,
                ratio,
            ));
        }
    }
    if let Some(pair) = pair("1 in flight") {
        let ratio = pair.ratio(|r| r.summary.result_us.p50 as f64);
        goals.push(at_most("result p50, a3s/floor, 1 in flight", 1.2, ratio));
    }
    if let (Some(one), Some(many)) = (pair("64 in flight"), pair("10000 sessions")) {
        let ratio = rate(many) / rate(one);
        goals.push(at_least("tasks/s, 10,000 sessions / one", 0.9, ratio));
    }
    let drain = |backlog| {
        findings
            .drains
            .iter()
            .find(|drain| drain.backlog == backlog)
    };
    if let (Some(few), Some(many)) = (drain(10_000), drain(1_000_000)) {
        let middle = |rates: &[f64]| median(rates.iter().copied());
        let ratio = middle(&many.a3s) / middle(&few.a3s);
        goals.push(at_least("drain rate, 1 M / 10 k", 0.9, ratio));
    }
    if let Some(worker) = &findings.worker {
        goals.push(at_most(
            "idle worker, % of a core",
            0.5,
            worker.idle_percent,
        ));
        goals.push(at_most("idle worker, MiB", 25.0, worker.rss_mib));
        goals.push(at_most(
            "worker, ms from exec to its first pull",
            150.0,
            worker.ready(),
        ));
    }
    if let Some(search) = &findings.search {
        goals.push(at_most("search, a3s/rg", 1.3, search.ratio()));
        goals.push(at_most(
            "search, ms to the first byte",
            100.0,
            search.first(),
        ));
    }
    goals
}

fn rate(pair: &Outcome) -> f64 {
    median(pair.a3s.iter().map(|report| report.summary.per_second))
}
