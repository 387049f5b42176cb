//! What became of one command, and the exit status of all.

use a3s_shared::protocol::{Outcome, RETURNED, Returned, TaskResult};
use serde_json::Value;

/// The largest number of failures that an exit status tells; 101 means more.
const MAX_FAILURES_TOLD: usize = 100;

/// One command and its argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// From 1, in the order of the arguments.
    pub(crate) number: usize,
    /// As it was given.
    pub(crate) argument: String,
    /// What the shell runs.
    pub(crate) command: String,
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It ran to its end, with this exit code.
    Exit(i64),
    /// It was ended by a signal.
    Signal(String),
    /// It did not run to its end: timed out, cancelled, lost.
    Broken {
        /// One word: `timed out`.
        how: String,
        /// The whole sentence.
        why: String,
    },
}

impl End {
    /// A cell of the table: the exit code, or a word.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Exit(code) => code.to_string(),
            Self::Signal(name) => name.clone(),
            Self::Broken { how, .. } => how.clone(),
        }
    }
}

/// A command and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Report {
    /// The command.
    pub(crate) job: Job,
    /// How it ended.
    pub(crate) end: End,
    /// Who ran it; empty when nobody did.
    pub(crate) worker: String,
    /// How long the last attempt ran.
    pub(crate) seconds: f64,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it printed to standard error.
    pub(crate) stderr: String,
    /// The files that it changed, where these were asked for.
    pub(crate) changes: Option<Returned>,
}

impl Report {
    /// From the result of a `bash` task.
    pub(crate) fn from_result(job: Job, result: &TaskResult) -> Self {
        let text = |field: &str| result.result[field].as_str().unwrap_or_default().to_owned();
        let milliseconds = u32::try_from(result.duration_ms).unwrap_or(u32::MAX);
        Self {
            job,
            end: end_of(result),
            worker: result.worker_id.clone(),
            seconds: f64::from(milliseconds) / 1_000.0,
            stdout: text("stdout"),
            stderr: text("stderr"),
            changes: serde_json::from_value(result.result[RETURNED].clone()).ok(),
        }
    }

    /// For a command that has no result.
    pub(crate) fn broken(job: Job, how: &str, why: String) -> Self {
        Self {
            job,
            end: End::Broken {
                how: how.to_owned(),
                why,
            },
            worker: String::new(),
            seconds: 0.0,
            stdout: String::new(),
            stderr: String::new(),
            changes: None,
        }
    }

    /// Whether somebody ended it.
    pub(crate) fn is_cancelled(&self) -> bool {
        let cancelled = Outcome::Cancelled.to_string();
        matches!(&self.end, End::Broken { how, .. } if *how == cancelled)
    }

    /// Whether it ran to its end with exit code 0.
    pub(crate) fn is_success(&self) -> bool {
        self.end == End::Exit(0)
    }
}

fn end_of(result: &TaskResult) -> End {
    let why = || result.error.clone().unwrap_or_default();
    match (result.outcome(), &result.result) {
        (Outcome::Completed, _) => End::Exit(0),
        (Outcome::Failed, value) if value["timed_out"] == Value::Bool(true) => End::Broken {
            how: Outcome::TimedOut.to_string(),
            why: why(),
        },
        (Outcome::Failed, value) => match (value["exit_code"].as_i64(), &value["signal"]) {
            (Some(code), _) => End::Exit(code),
            (None, Value::String(name)) => End::Signal(name.clone()),
            (None, Value::Number(number)) => End::Signal(format!("signal {number}")),
            _ => End::Broken {
                how: "failed".to_owned(),
                why: why(),
            },
        },
        (outcome, _) => End::Broken {
            how: outcome.to_string(),
            why: why(),
        },
    }
}

/// The exit status: how many jobs failed, 101 for more than a hundred.
pub(crate) fn exit_status(failed: usize) -> u8 {
    u8::try_from(failed.min(MAX_FAILURES_TOLD + 1)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::{ErrorKind, SessionLane};
    use serde_json::json;

    use super::*;

    fn report(success: bool, result: Value, kind: Option<ErrorKind>) -> Report {
        let job = Job {
            number: 1,
            argument: "a".to_owned(),
            command: "x a".to_owned(),
        };
        let result = TaskResult {
            task_id: "t".to_owned(),
            session_id: "s".to_owned(),
            lane: SessionLane::Execute,
            command_type: "bash".to_owned(),
            success,
            result,
            error: Some("why".to_owned()),
            error_kind: kind,
            attempt: 1,
            worker_id: "w1".to_owned(),
            started_at_ms: 0,
            duration_ms: 1_500,
        };
        Report::from_result(job, &result)
    }

    #[test]
    fn the_end_is_read_from_the_result() {
        let end = |success, result, kind| report(success, result, kind).end.short();
        assert_eq!(end(true, json!({"exit_code": 0}), None), "0");
        assert_eq!(end(false, json!({"exit_code": 3}), None), "3");
        let killed = json!({"exit_code": null, "signal": "SIGKILL"});
        assert_eq!(end(false, killed, None), "SIGKILL");
        assert_eq!(
            end(false, json!({"exit_code": null, "signal": 9}), None),
            "signal 9"
        );
        let late = json!({"exit_code": null, "timed_out": true});
        assert_eq!(end(false, late, None), "timed out");
        assert_eq!(
            end(false, json!({}), Some(ErrorKind::TimedOut)),
            "timed out"
        );
        assert_eq!(end(false, json!({}), Some(ErrorKind::Unknown)), "unknown");
        assert_eq!(end(false, json!({}), None), "failed");
    }

    #[test]
    fn output_is_kept_also_of_a_failure() {
        let report = report(
            false,
            json!({"exit_code": 1, "stdout": "o", "stderr": "e"}),
            None,
        );
        assert_eq!((report.stdout.as_str(), report.stderr.as_str()), ("o", "e"));
        assert!((report.seconds - 1.5).abs() < 1e-9);
        assert!(!report.is_success());
    }

    #[test]
    fn the_exit_status_counts_failures_up_to_a_hundred() {
        assert_eq!(exit_status(0), 0);
        assert_eq!(exit_status(100), 100);
        assert_eq!(exit_status(5_000), 101);
    }
}
