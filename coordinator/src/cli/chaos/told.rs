//! What a run says to people.

use crate::chaos::checks::Finding;
use crate::chaos::ledger::Ledger;
use crate::chaos::page;
use crate::chaos::summary::Summary;

/// Offending tasks that are named on standard output; the report and --json name all.
const NAMED: usize = 20;

/// The numbers, the faults and the invariants, as lines.
pub(super) fn told(ledger: &Ledger, summary: &Summary, findings: &[Finding]) -> String {
    let mut lines = vec![format!("seed {}", ledger.run.seed)];
    lines.extend(
        summary
            .counts()
            .map(|(name, count)| format!("{name:20}{count:>9}")),
    );
    let executions: Vec<_> = summary
        .executions
        .iter()
        .map(|(times, tasks)| format!("{times}: {tasks}"))
        .collect();
    lines.push(format!("executions a task   {}", executions.join(", ")));
    lines.push(format!(
        "throughput          {:.0} results/s over {:.1} s",
        summary.throughput,
        summary.took_ms as f64 / 1_000.0
    ));
    lines.push(format!("faults              {}", ledger.faults.len()));
    for (harm, times) in summary.recovery_by_harm() {
        let (half, longest) = (times.get(times.len() / 2), times.last());
        if let (Some(half), Some(longest)) = (half, longest) {
            let (name, count) = (page::name(harm), times.len());
            lines.push(format!(
                "  {name:18}{count:>4}  next result after {half} ms (half), {longest} ms (longest)"
            ));
        }
    }
    for finding in findings {
        let verdict = match finding.offences.is_empty() {
            true => "holds ",
            false => "BROKEN",
        };
        lines.push(format!("{} {verdict}  {}", finding.name, finding.says));
        let offences = finding.offences.iter().take(NAMED);
        lines.extend(offences.map(|offence| format!("    {}: {}", offence.task, offence.what)));
        if let Some(more @ 1..) = finding.offences.len().checked_sub(NAMED) {
            lines.push(format!("    and {more} more"));
        }
    }
    lines.join("\n")
}
