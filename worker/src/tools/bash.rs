//! `bash`: runs a shell command.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::OnceLock;
use std::time::Duration;

use a3s_shared::protocol::{ErrorKind, ExternalTask};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::output::Capped;
use super::payload::{failed, parse};
use super::process::{self, End, Ended, Job, Limits};
use crate::context::{StopReason, ToolContext};
use crate::tool::{Tool, ToolResult, Verdict};

const FIELDS: &str = "command, timeout in ms (120000)";
/// How long a command may run when its payload does not say, as in a3s-code-core.
const DEFAULT_TIMEOUT_MS: u64 = 120_000;

/// Runs a command with bash, or with sh where there is none, in the workspace's root.
///
/// It may touch what the worker's user may, unless there is a [sandbox](crate::sandbox): the
/// workspace's jail holds the other tools, not a shell.
#[derive(Debug, Default)]
pub struct Bash {
    /// What the command may use.
    pub limits: Limits,
}

#[derive(Deserialize)]
struct Input {
    command: String,
    timeout: Option<u64>,
}

#[async_trait::async_trait]
impl Tool for Bash {
    fn name(&self) -> &str {
        "bash"
    }

    async fn run(&self, task: &ExternalTask, context: &ToolContext) -> Verdict {
        let input = match parse::<Input>(task, FIELDS) {
            Ok(input) => input,
            Err(verdict) => return verdict,
        };
        let timeout = input.timeout.unwrap_or(DEFAULT_TIMEOUT_MS);
        let own = Instant::now() + Duration::from_millis(timeout);
        let limits = self.limits.stricter(context.policy().limits.programs);
        let mut command = process::command(shell(), task, context, limits);
        command.arg("-c").arg(&input.command);
        let job = Job {
            command,
            stdin: None,
            until: own.min(context.deadline()),
            stdout: Capped::default(),
        };
        match process::run(job, context).await {
            Ok(ended) => verdict(ended, timeout, limits, context),
            Err(e) => failed(format!("cannot start {}: {e}", shell().display())),
        }
    }

    fn counts_output(&self) -> bool {
        true
    }
}

/// The shell of this machine.
fn shell() -> &'static Path {
    static SHELL: OnceLock<PathBuf> = OnceLock::new();
    SHELL.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut bash = std::env::split_paths(&path).map(|dir| dir.join("bash"));
        bash.find(|file| file.is_file())
            .unwrap_or_else(|| PathBuf::from("/bin/sh"))
    })
}

fn verdict(ended: Ended, timeout: u64, limits: Limits, context: &ToolContext) -> Verdict {
    let end = match ended.end {
        End::TimedOut if context.deadline() <= Instant::now() => End::Stopped(StopReason::Deadline),
        end => end,
    };
    let (error, error_kind) = match &ended.refusal {
        Some(refusal) => (Some(refusal.to_string()), Some(ErrorKind::Refused)),
        None => explain(end, timeout),
    };
    let status = match end {
        End::Exited(status) => Some(status),
        End::TimedOut | End::Stopped(_) | End::Flooded => None,
    };
    let result = result(end, ended);
    let stderr = result["stderr"].as_str().unwrap_or_default();
    let error = error.map(|error| match (error_kind, status) {
        (Some(ErrorKind::Refused), _) => error,
        (_, None) => limits.explain(error, None, stderr),
        (_, status) => context
            .sandbox()
            .explain(limits.explain(error, status, stderr), stderr),
    });
    Verdict::Done(ToolResult {
        success: error.is_none(),
        result,
        error,
        error_kind,
    })
}

/// Why there is no success.
fn explain(end: End, timeout: u64) -> (Option<String>, Option<ErrorKind>) {
    match end {
        End::Exited(status) => (complaint(status), None),
        End::TimedOut => (Some(format!("timed out after {timeout} ms")), None),
        End::Stopped(reason) => (Some(format!("killed: {reason}")), reason.error_kind()),
        End::Flooded => (
            Some("it printed too much".to_owned()),
            Some(ErrorKind::Refused),
        ),
    }
}

fn complaint(status: ExitStatus) -> Option<String> {
    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exited with code {code}")),
        (None, signal) => Some(format!("killed by signal {}", signal.unwrap_or(0))),
    }
}

fn result(end: End, ended: Ended) -> Value {
    // SIGKILL is what we end a tree with.
    let (exit_code, signal) = match end {
        End::Exited(status) => (status.code(), status.signal()),
        _ => (None, Some(9)),
    };
    let timed_out = matches!(end, End::TimedOut | End::Stopped(StopReason::Deadline));
    let cut = [&ended.stdout, &ended.stderr, &ended.output];
    json!({
        "truncated": cut.iter().any(|part| part.is_cut()),
        "stdout": ended.stdout.into_text(),
        "stderr": ended.stderr.into_text(),
        "output": ended.output.into_text(),
        "exit_code": exit_code,
        "signal": signal,
        "timed_out": timed_out,
    })
}

#[cfg(test)]
#[path = "bash_tests.rs"]
mod tests;
