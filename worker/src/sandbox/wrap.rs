//! `--wrap`: a command below which every program runs.

use std::ffi::OsStr;
use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long `true` may take below it, at the worker's start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A command that runs the command that follows it, as `env` and `bwrap` do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrap(Vec<String>);

impl Wrap {
    /// The command that `text` is in a shell, without expansions, if it runs `true` well.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn try_out(text: &str) -> Result<Self, String> {
        let words = shlex::split(text).filter(|words| !words.is_empty());
        let words = words.ok_or("it is no command; look at its quotes")?;
        let wrap = Self(words);
        let tried = run(wrap.command(OsStr::new("true")));
        let tried = tried.map_err(|e| format!("cannot start {}: {e}", wrap.name()))?;
        let tried = tried.ok_or_else(|| {
            let seconds = PATIENCE.as_secs();
            format!("`{text} true` did not end within {seconds} s")
        })?;
        if tried.status.success() {
            return Ok(wrap);
        }
        let said = String::from_utf8_lossy(&tried.stderr);
        let said = said.trim();
        let status = tried.status;
        Err(format!("`{text} true` did not succeed: {status}: {said}"))
    }

    /// Its program.
    pub(super) fn name(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// `program` below it.
    pub(super) fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(self.name());
        command.args(self.0.iter().skip(1)).arg(program);
        command
    }
}

/// What a command says until it ends; `None` when it has to be killed.
fn run(mut command: Command) -> io::Result<Option<Output>> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.stderr(Stdio::piped()).spawn()?;
    let pid = Pid::from_child(&child);
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || drop(tell.send(child.wait_with_output())));
    match told.recv_timeout(PATIENCE) {
        Ok(output) => output.map(Some),
        Err(_) => {
            let _ = kill_process(pid, Signal::KILL);
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_as_a_shell_would() {
        let wrap = Wrap::try_out("env 'A=b c' D=e").expect("env is there");
        assert_eq!(wrap.name(), "env");
        let mut command = wrap.command(OsStr::new("sh"));
        let output = command.args(["-c", "printf %s \"$A$D\""]).output();
        assert_eq!(output.expect("it runs").stdout, b"b ce");
    }

    #[test]
    fn a_command_that_does_not_run_others_is_refused_with_what_it_said() {
        for (text, word) in [
            ("", "no command"),
            ("'env", "quotes"),
            ("no-such-program-a3s", "cannot start no-such-program-a3s"),
            ("sh -c 'echo no way >&2; exit 3'", "no way"),
        ] {
            let error = Wrap::try_out(text).expect_err(text);
            assert!(error.contains(word), "{error:?} does not say {word:?}");
        }
    }
}
