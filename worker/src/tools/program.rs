//! A tool in any language: a program that gets the task on stdin and prints the result.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use a3s_shared::protocol::{ErrorKind, ExternalTask, ToolInfo};
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::{Capped, capped};
use super::payload::failed;
use super::process::{self, End, Ended, Job, Limits};
use crate::context::{StopReason, ToolContext};
use crate::policy::Refusal;
use crate::tool::{Tool, ToolResult, Verdict};

/// The exit code that asks for another attempt, `EX_TEMPFAIL` of sysexits.h.
const RETRY: i32 = 75;
/// Bytes of a program's stdout; a longer result cannot be taken whole, and is a failure.
const MAX_RESULT: usize = 16 * 1024 * 1024;

/// A program that serves one command type (`--tool name=./program`).
///
/// It gets one JSON object on stdin: the task, with `deadline_ms` and `remaining_ms`. It prints
/// either a JSON object with `success` (then `result` and `error` are taken from it), or
/// anything else, which becomes `output` and succeeds by the exit code. Exit code 75 asks for
/// another attempt, for the reason on the last line of stderr.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: PathBuf,
    limits: Limits,
    info: ToolInfo,
}

impl Program {
    /// The program `command` as the tool `name`. A relative path with a slash starts at this
    /// process's directory, not at the workspace's root; a bare name is looked up in `PATH`.
    ///
    /// # Errors
    /// When the path cannot be made absolute.
    pub fn new(name: impl Into<String>, command: &Path, limits: Limits) -> std::io::Result<Self> {
        let bare = command.components().count() == 1 && !command.starts_with(".");
        let command = if bare {
            command.to_owned()
        } else {
            std::path::absolute(command)?
        };
        Ok(Self {
            name: name.into(),
            command,
            limits,
            info: ToolInfo::default(),
        })
    }

    /// Sets what is said of it to agents.
    #[must_use]
    pub fn described(mut self, info: ToolInfo) -> Self {
        self.info = info;
        self
    }
}

#[async_trait::async_trait]
impl Tool for Program {
    fn name(&self) -> &str {
        &self.name
    }

    fn info(&self) -> ToolInfo {
        self.info.clone()
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let limits = self.limits.stricter(context.policy().limits.programs);
        let job = Job {
            command: process::command(&self.command, task, context, limits),
            stdin: Some(input(task)),
            until: context.deadline(),
            stdout: Capped::new(MAX_RESULT, 0),
        };
        match process::run(job, context).await {
            Ok(ended) => self.verdict(ended, limits, context),
            Err(e) => failed(format!("cannot start {}: {e}", self.command.display())),
        }
    }

    fn counts_output(&self) -> bool {
        true
    }
}

/// The task as one line of JSON.
fn input(task: &ExternalTask) -> Vec<u8> {
    let mut line = json!(task);
    line["deadline_ms"] = task.deadline_ms.into();
    line["remaining_ms"] = task.remaining_ms().into();
    format!("{line}\n").into_bytes()
}

/// What a program may print.
#[derive(Deserialize)]
struct Answer {
    success: bool,
    #[serde(default)]
    result: Value,
    error: Option<String>,
}

impl Program {
    fn verdict(&self, ended: Ended, limits: Limits, context: &ToolContext) -> Verdict {
        let killed = |reason: StopReason| {
            let error = format!("{} was killed: {reason}", self.name);
            (error, reason.error_kind())
        };
        let status = match ended.end {
            End::Exited(status) => status,
            End::TimedOut => return cut_short(ended, killed(StopReason::Deadline)),
            End::Stopped(reason) => return cut_short(ended, killed(reason)),
            End::Flooded => {
                let refusal = ended.refusal.as_ref().map(Refusal::to_string);
                let error = refusal.unwrap_or_else(|| "it printed too much".to_owned());
                return cut_short(ended, (error, Some(ErrorKind::Refused)));
            }
        };
        let stderr = ended.stderr.into_text();
        if status.code() == Some(RETRY) {
            let reason = last_line(&stderr).unwrap_or("the program asked for another attempt");
            return Verdict::Retry(format!("{}: {reason}", self.name));
        }
        if ended.stdout.is_cut() {
            let error = format!("{} printed over {MAX_RESULT} bytes", self.name);
            return Verdict::failure(error, json!({ "output": "", "stderr": stderr }));
        }
        let stdout = ended.stdout.into_text();
        match serde_json::from_str::<Answer>(&stdout) {
            Ok(answer) => taken(answer),
            Err(_) => by_exit_code(status, stdout, &stderr, |error| {
                let error = limits.explain(error, Some(status), &stderr);
                context.sandbox().explain(error, &stderr)
            }),
        }
    }
}

fn cut_short(ended: Ended, (error, error_kind): (String, Option<ErrorKind>)) -> Verdict {
    Verdict::Done(ToolResult {
        success: false,
        result: json!({
            "output": capped(ended.stdout.into_text()),
            "stderr": ended.stderr.into_text(),
        }),
        error: Some(error),
        error_kind,
    })
}

fn taken(answer: Answer) -> Verdict {
    let unsaid = (!answer.success).then(|| "the program said no reason".to_owned());
    Verdict::Done(ToolResult {
        success: answer.success,
        result: answer.result,
        error: answer.error.filter(|_| !answer.success).or(unsaid),
        error_kind: None,
    })
}

fn by_exit_code(
    status: ExitStatus,
    stdout: String,
    stderr: &str,
    explain: impl FnOnce(String) -> String,
) -> Verdict {
    let result = json!({
        "output": capped(stdout),
        "stderr": stderr,
        "exit_code": status.code(),
        "signal": status.signal(),
    });
    if status.success() {
        return Verdict::success(result);
    }
    let error = last_line(stderr).map_or_else(|| status.to_string(), str::to_owned);
    Verdict::failure(explain(error), result)
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::tools::harness::Harness;

    fn program(harness: &Harness, script: &str) -> Program {
        harness.write("tool.sh", format!("#!/bin/sh\n{script}\n"));
        let path = harness.root().join("tool.sh");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("set");
        Program::new("custom", &path, Limits::default()).expect("the path is absolute")
    }

    #[tokio::test]
    async fn a_program_gets_the_task_and_its_object_is_the_result() {
        let harness = Harness::new();
        let script = r#"printf '{"success":true,"result":%s}' "$(cat)""#;
        let tool = program(&harness, script);
        let result = harness.success(&tool, json!({"n": 1})).await;
        assert_eq!(result["payload"], json!({"n": 1}));
        assert_eq!(result["command_type"], "custom");
        assert!(result["remaining_ms"].as_u64() > Some(50_000), "{result}");
        assert!(result["deadline_ms"].is_u64(), "{result}");
    }

    #[tokio::test]
    async fn a_program_that_says_no_success_has_failed_whatever_it_exits_with() {
        let harness = Harness::new();
        let script = r#"echo '{"success":false,"error":"no such user","result":{"n":2}}'"#;
        let (error, result) = harness.failure(&program(&harness, script), json!({})).await;
        assert_eq!((error.as_str(), &result["n"]), ("no such user", &json!(2)));
    }

    #[tokio::test]
    async fn plain_text_succeeds_by_the_exit_code() {
        let harness = Harness::new();
        let result = harness
            .success(&program(&harness, "echo hi"), json!({}))
            .await;
        assert_eq!(result["output"], "hi\n");
        let tool = program(&harness, "echo part; echo why >&2; exit 4");
        let (error, result) = harness.failure(&tool, json!({})).await;
        assert_eq!(error, "why");
        assert_eq!(result["output"], "part\n");
        assert_eq!(result["exit_code"], 4);
    }

    #[tokio::test]
    async fn exit_75_asks_for_another_attempt_with_the_last_line_of_stderr() {
        let harness = Harness::new();
        let tool = program(
            &harness,
            "echo one >&2; echo 'database is away' >&2; exit 75",
        );
        let verdict = harness.run(&tool, json!({})).await;
        assert_eq!(
            verdict,
            Verdict::Retry("custom: database is away".to_owned())
        );
    }

    #[tokio::test]
    async fn a_program_that_does_not_read_a_large_task_still_answers() {
        let harness = Harness::new();
        let payload = json!({"big": "x".repeat(1_000_000)});
        let result = harness
            .success(&program(&harness, "echo hi"), payload)
            .await;
        assert_eq!(result["output"], "hi\n");
    }

    #[tokio::test]
    async fn at_the_deadline_a_program_is_killed_and_keeps_what_it_printed() {
        let mut harness = Harness::new();
        harness.timeout = Duration::from_millis(300);
        let tool = program(&harness, "echo part; sleep 1010");
        let done = harness.done(&tool, json!({})).await;
        assert_eq!(done.error_kind, Some(ErrorKind::TimedOut));
        assert_eq!(done.result["output"], "part\n");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let harness = Harness::new();
        let path = harness.root().join("none");
        let tool = Program::new("custom", &path, Limits::default()).expect("is absolute");
        let (error, _) = harness.failure(&tool, json!({})).await;
        assert!(error.contains("none: No such file"), "{error}");
    }
}
