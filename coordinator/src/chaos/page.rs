//! The report of a run: what was asked for, what came out, and a timeline of both.

use std::collections::BTreeMap;

use clap::ValueEnum as _;

use super::checks::Finding;
use super::ledger::Ledger;
use super::plan::Harm;
use super::summary::{Summary, stored_times};
use a3s_report::{Chart, Page, bars, rows};

/// Offending tasks that are shown of one invariant.
const SHOWN: usize = 50;

/// Writes a run down for people.
pub(crate) fn page(ledger: &Ledger, summary: &Summary, findings: &[Finding], server: &str) -> Page {
    let run = &ledger.run;
    let broken = findings
        .iter()
        .filter(|finding| !finding.offences.is_empty())
        .count();
    let verdict = match broken {
        0 => "Every invariant held.".to_owned(),
        _ => format!("{broken} of {} invariants were broken.", findings.len()),
    };
    let page = Page::new(format!("Chaos run of seed {}", run.seed))
        .fact("nats-server", server)
        .fact("seed", run.seed.to_string())
        .fact("tasks", run.tasks.to_string())
        .prose(&format!(
            "{} tasks were submitted over {:.1} s, {} under way at a time, while {} faults were \
             injected. {verdict}",
            run.tasks,
            seconds(summary.took_ms),
            run.concurrency,
            ledger.faults.len(),
        ));
    let page = invariants(page.section("Invariants"), findings);
    let page = outcomes(page.section("Outcomes"), summary);
    let page = timeline(page.section("Timeline"), ledger);
    recoveries(page.section("Faults and recovery"), summary)
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn invariants(page: Page, findings: &[Finding]) -> Page {
    let row = |finding: &Finding| {
        let held = match finding.offences.len() {
            0 => "holds".to_owned(),
            count => format!("broken {count} times"),
        };
        vec![finding.name.to_owned(), finding.says.to_owned(), held]
    };
    let rows: Vec<_> = findings.iter().map(row).collect();
    let page = page.table(&["", "what must be true", ""], &rows);
    let offences = findings.iter().flat_map(|finding| {
        let shown = finding.offences.iter().take(SHOWN);
        shown.map(|o| vec![finding.name.to_owned(), o.task.clone(), o.what.clone()])
    });
    let offences: Vec<_> = offences.collect();
    match offences.is_empty() {
        true => page,
        false => page.table(&["", "task", "what was seen"], &offences),
    }
}

fn outcomes(page: Page, summary: &Summary) -> Page {
    let counts = summary.counts();
    let rows: Vec<_> = counts
        .iter()
        .map(|(name, count)| vec![(*name).to_owned(), count.to_string()])
        .collect();
    let executions: Vec<_> = summary
        .executions
        .iter()
        .map(|(times, tasks)| (times.to_string(), *tasks as f64))
        .collect();
    page.table(&["", "tasks"], &rows)
        .prose(&format!("{:.1} results a second.", summary.throughput))
        .figure(
            "How often the tool was started for a task, as the tool itself counted.",
            &bars("executions of a task", "tasks", &executions),
        )
}

/// Outcomes a second as lines, and faults below them over the same time.
fn timeline(page: Page, ledger: &Ledger) -> Page {
    let mut by_outcome: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
    let end = stored_times(ledger)
        .last()
        .copied()
        .unwrap_or(ledger.run.began_ms);
    let span = end.saturating_sub(ledger.run.began_ms) / 1_000;
    for stored in ledger
        .tasks
        .values()
        .filter_map(|account| account.stored.as_ref())
    {
        let second = stored.at_ms.saturating_sub(ledger.run.began_ms) / 1_000;
        let all = (0..=span).map(|second| (second, 0.0));
        let counts = by_outcome.entry(stored.outcome.to_string());
        *counts
            .or_insert_with(|| all.collect())
            .entry(second)
            .or_default() += 1.0;
    }
    let mut chart = Chart::new("seconds", "results a second");
    for (outcome, counts) in by_outcome {
        let points = counts
            .into_iter()
            .map(|(second, count)| (second as f64 + 0.5, count));
        chart = chart.line(&outcome, points.collect());
    }
    let second = |at: u64| seconds(at.saturating_sub(ledger.run.began_ms));
    let row = |harm: &Harm| {
        let struck = ledger
            .faults
            .iter()
            .filter(|struck| struck.fault.harm == *harm);
        let stretches = struck.map(|struck| (second(struck.from_ms), second(struck.to_ms)));
        (name(*harm), stretches.collect())
    };
    let faults: Vec<_> = Harm::value_variants().iter().map(row).collect();
    let faults = rows("seconds", span as f64, &faults);
    page.figure("Results by outcome.", &chart.svg())
        .figure("Faults, from their beginning to their end.", &faults)
}

fn recoveries(page: Page, summary: &Summary) -> Page {
    let rows: Vec<_> = summary
        .recovery_by_harm()
        .into_iter()
        .map(|(harm, times)| {
            let at = |part: usize| {
                let index = (times.len().saturating_sub(1)) * part / 100;
                times
                    .get(index)
                    .map_or("-".to_owned(), |ms| format!("{ms} ms"))
            };
            vec![name(harm), times.len().to_string(), at(50), at(90), at(100)]
        })
        .collect();
    page.prose(
        "How long after the beginning of a fault the next result of any task was stored: half of \
         the times, nine of ten, and the longest.",
    )
    .table(&["fault", "times", "half", "90 %", "longest"], &rows)
}

/// A harm as it is typed.
pub(crate) fn name(harm: Harm) -> String {
    harm.to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned())
}
