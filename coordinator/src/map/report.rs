//! What became of all commands: a table for people, a JUnit file for machines.

use std::time::Duration;

use comfy_table::{Cell, Table, presets};
use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::job::{End, Report};

/// The longest argument in the table, in characters.
const MAX_ARGUMENT: usize = 60;

/// The most rows of successes in the table; failures are all shown.
const MAX_SUCCESSES: usize = 50;

/// A row for each command (argument, worker, exit, seconds) and a line on all. Of many successes
/// only the first ones have a row. `total` is how many arguments there were, where that is known.
pub(crate) fn table(reports: &[Report], total: Option<usize>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(["argument", "worker", "exit", "seconds"]);
    let mut successes = 0;
    for report in reports {
        successes += usize::from(report.is_success());
        if !report.is_success() || successes <= MAX_SUCCESSES {
            table.add_row(row(report));
        }
    }
    format!("{}\n{}", table.trim_fmt(), sum(reports, successes, total))
}

/// `3 succeeded, 1 failed`, and what else there is to say.
fn sum(reports: &[Report], successes: usize, total: Option<usize>) -> String {
    let cancelled = reports
        .iter()
        .filter(|report| report.is_cancelled())
        .count();
    let failed = reports.len() - successes - cancelled;
    let hidden = successes.saturating_sub(MAX_SUCCESSES);
    let not_started = total.unwrap_or(0).saturating_sub(reports.len());
    let mut sum = match hidden {
        0 => format!("{successes} succeeded"),
        hidden => format!("{successes} succeeded ({hidden} of them not listed)"),
    };
    sum.push_str(&format!(", {failed} failed"));
    for (count, what) in [(cancelled, "cancelled"), (not_started, "not started")] {
        if count > 0 {
            sum.push_str(&format!(", {count} {what}"));
        }
    }
    sum
}

fn row(report: &Report) -> [Cell; 4] {
    let worker = match report.worker.as_str() {
        "" => "-",
        worker => worker,
    };
    [
        Cell::new(shortened(&report.job.argument)),
        Cell::new(worker),
        Cell::new(report.end.short()),
        Cell::new(format!("{:.3}", report.seconds)),
    ]
}

/// One line of at most [`MAX_ARGUMENT`] characters; its end is kept, where paths differ.
fn shortened(argument: &str) -> String {
    let line: String = argument
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let length = line.chars().count();
    if length <= MAX_ARGUMENT {
        return line;
    }
    let end: String = line.chars().skip(length - MAX_ARGUMENT + 1).collect();
    format!("…{end}")
}

/// The reports as a JUnit document: a suite named after the command, a case for each argument.
///
/// # Errors
/// When the document cannot be written.
pub(crate) fn junit(
    command: &str,
    reports: &[Report],
) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(command);
    for report in reports {
        suite.add_test_case(case(report));
    }
    let mut document = quick_junit::Report::new("a3s-coordinator map");
    document.add_test_suite(suite);
    document.to_string()
}

fn case(report: &Report) -> TestCase {
    let mut case = TestCase::new(report.job.argument.as_str(), status(report));
    case.set_classname(report.worker.as_str())
        .set_time(Duration::from_secs_f64(report.seconds))
        .set_system_out(report.stdout.as_str())
        .set_system_err(report.stderr.as_str());
    case
}

fn status(report: &Report) -> TestCaseStatus {
    let (kind, message) = match &report.end {
        End::Exit(0) => return TestCaseStatus::success(),
        End::Exit(code) => (NonSuccessKind::Failure, format!("exit code {code}")),
        End::Signal(name) => (NonSuccessKind::Failure, format!("ended by {name}")),
        End::Broken { how, why } => (NonSuccessKind::Error, format!("{how}: {why}")),
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_message(message);
    status
}

#[cfg(test)]
mod tests {
    use super::super::job::Job;
    use super::*;

    fn report(argument: &str, end: End) -> Report {
        Report {
            job: Job {
                number: 1,
                argument: argument.to_owned(),
                command: format!("run {argument}"),
            },
            end,
            worker: "w1".to_owned(),
            seconds: 0.25,
            stdout: "out \u{1b}[1m".to_owned(),
            stderr: String::new(),
            changes: None,
        }
    }

    #[test]
    fn the_table_shows_every_failure() {
        let mut reports: Vec<Report> = (0..80)
            .map(|i| report(&format!("ok{i}"), End::Exit(0)))
            .collect();
        reports.push(report("bad", End::Exit(9)));
        let text = table(&reports, None);
        assert!(text.contains("ok49") && !text.contains("ok50"), "{text}");
        let row = text
            .lines()
            .find(|line| line.contains("bad"))
            .expect("a row");
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["bad", "w1", "9", "0.250"]);
        assert!(
            text.ends_with("80 succeeded (30 of them not listed), 1 failed"),
            "{text}"
        );
    }

    #[test]
    fn what_was_cancelled_or_never_started_is_no_failure() {
        let cancelled = End::Broken {
            how: "cancelled".to_owned(),
            why: String::new(),
        };
        let reports = [report("a", End::Exit(1)), report("b", cancelled)];
        let text = table(&reports, Some(9));
        let last = text.lines().last().expect("a line");
        assert_eq!(last, "0 succeeded, 1 failed, 1 cancelled, 7 not started");
    }

    #[test]
    fn a_long_argument_keeps_its_end() {
        let long = format!("{}/the_end", "x".repeat(200));
        let short = shortened(&long);
        assert!(short.ends_with("/the_end") && short.chars().count() == MAX_ARGUMENT);
    }

    #[test]
    fn the_junit_file_can_be_read_back() {
        let broken = End::Broken {
            how: "timed out".to_owned(),
            why: "the deadline passed".to_owned(),
        };
        let reports = [
            report("a", End::Exit(0)),
            report("b", End::Exit(2)),
            report("c", broken),
        ];
        let text = junit("run <{}>", &reports).expect("a document");
        let document = quick_junit::Report::deserialize_from_str(&text).expect("readable");
        assert_eq!(
            (document.tests, document.failures, document.errors),
            (3, 1, 1)
        );
        assert!(!text.contains('\u{1b}'));
    }
}
