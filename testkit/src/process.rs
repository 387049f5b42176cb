//! A program of this workspace as a real process, to be killed at the worst moment.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use a3s_shared::runtime::child::spawn_bound;
use rustix::process::{Pid, Signal, kill_process};

use crate::{binary, eventually};

/// A running or finished process. Killed on drop, and with the test; what it printed is shown
/// when the test fails.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdout: Capture,
    stderr: Capture,
}

/// A process to be started.
#[derive(Debug)]
pub struct ProcessBuilder {
    name: String,
    command: Command,
}

impl ProcessBuilder {
    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn current_dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(mut self) -> Process {
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let name = self.name;
        let mut child = spawn_bound(self.command)
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = Capture::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Capture::of(child.stderr.take().expect("stderr is piped"));
        Process {
            name,
            child,
            stdout,
            stderr,
        }
    }
}

impl Process {
    /// A program of this workspace by its name, such as `a3s-worker`. It sees nothing of the
    /// connection settings in the environment of whoever runs the tests.
    ///
    /// # Panics
    /// When it cannot be built.
    #[must_use]
    pub fn of(name: &str) -> ProcessBuilder {
        Self::at(binary(name))
    }

    /// Any program.
    #[must_use]
    pub fn at(program: impl AsRef<Path>) -> ProcessBuilder {
        let program = program.as_ref();
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = text.starts_with("NATS_") || text.starts_with("A3S_");
            if (ours && text != "A3S_NATS_SERVER") || text == "SESSION_ID" {
                command.env_remove(&name);
            }
        }
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        ProcessBuilder { name, command }
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, once; dropping it ends the input.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// What it has printed to stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has printed to stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills it with SIGKILL and reaps it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it (SIGSTOP).
    pub fn stop_process(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on (SIGCONT).
    pub fn continue_process(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&mut self, signal: Signal) {
        let pid = self.child.id().try_into().ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_running()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits until it ends, and until all that it printed is here.
    ///
    /// # Panics
    /// When it still runs after `bound`.
    pub async fn wait(&mut self, bound: Duration) -> ExitStatus {
        let what = format!("the end of {} ({})", self.name, self.pid());
        let child = &mut self.child;
        let status = eventually(&what, bound, || {
            std::future::ready(match child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err("it still runs".to_owned()),
                Err(error) => Err(error.to_string()),
            })
        });
        let status = status.await;
        self.stdout.finish(bound).await;
        self.stderr.finish(bound).await;
        status
    }

    /// Waits until it has printed `text` to stdout or stderr.
    ///
    /// # Panics
    /// When it has not within `bound`, or has ended without; what it printed is shown.
    pub async fn wait_for(&self, text: &str, bound: Duration) {
        let what = format!("{text:?} in the output of {}", self.name);
        eventually(&what, bound, || {
            let over = self.stdout.is_over() && self.stderr.is_over();
            let seen = self.stdout().contains(text) || self.stderr().contains(text);
            assert!(seen || !over, "{what} will never come: it has ended");
            std::future::ready(seen.then_some(()).ok_or("it is not there"))
        })
        .await;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            let (name, pid) = (&self.name, self.pid());
            eprintln!("--- stdout of {name} ({pid}) ---\n{}", self.stdout());
            eprintln!("--- stderr of {name} ({pid}) ---\n{}", self.stderr());
        }
    }
}

/// What a pipe delivered, read by a thread so that the child never blocks on a full pipe.
#[derive(Debug)]
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
                sink.extend_from_slice(&buffer[..length]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the pipe is closed, and all that it delivered is here.
    fn is_over(&self) -> bool {
        self.reader.is_finished()
    }

    /// Waits for the end of the pipe: a grandchild may hold it a little longer.
    async fn finish(&self, bound: Duration) {
        eventually("the end of the output", bound, || {
            std::future::ready(
                self.is_over()
                    .then_some(())
                    .ok_or("somebody holds the pipe"),
            )
        })
        .await;
    }
}
