//! Runs a program for a task: bounded memory, a bounded time, and nothing left running.
//!
//! * `spawn`: how a child begins (own session, limits, death with its worker).
//! * `tree`: how it ends, with everything that it started.

mod spawn;
mod tree;

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep_until};

use super::output::Capped;
use crate::context::{StopReason, ToolContext};

pub use spawn::Limits;
pub(super) use spawn::command;

/// How long the pipes are read after the program's end. What it printed is in them already; only
/// a process that it left in the background can hold them open longer.
const DRAIN: Duration = Duration::from_millis(100);
/// One read. A pipe holds 64 KiB.
const CHUNK: usize = 64 * 1024;

/// Why a program is not running any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, or by a signal of somebody else.
    Exited(ExitStatus),
    /// Its own time limit came first, and it was killed.
    TimedOut,
    /// The task had to stop, and it was killed.
    Stopped(StopReason),
}

/// What a program left.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) stdout: Capped,
    pub(super) stderr: Capped,
    /// Both, in the order in which the worker read them.
    pub(super) output: Capped,
}

/// A program to run.
pub(super) struct Job {
    /// Made by [`command`].
    pub(super) command: Command,
    /// Given to it and closed; `None` is /dev/null.
    pub(super) stdin: Option<Vec<u8>>,
    /// When it is killed, at the latest.
    pub(super) until: Instant,
    /// What is kept of its stdout.
    pub(super) stdout: Capped,
}

/// Runs `job` until it exits, its time is over, or the task must stop. On return its whole tree
/// is gone; when this future is dropped, its process group is.
///
/// # Errors
/// When the program cannot be started.
pub(super) async fn run(job: Job, context: &ToolContext) -> io::Result<Ended> {
    let spawned = spawn::spawn(job.command, job.stdin.is_some());
    let (mut child, mark) = match started(spawned, job.until, context).await {
        Ok(spawned) => spawned?,
        // It never ran: on a busy machine a start can take longer than the task has.
        Err(end) => return Ok(Pipes::closed(job.stdout).ended(end)),
    };
    let group = tree::Group::of(&child, mark);
    let mut pipes = Pipes::of(&mut child, job.stdout);
    let feed = feed(child.stdin.take(), job.stdin);
    let end = tokio::select! {
        end = wait(&mut child, job.until, context) => end?,
        // Neither of these two ends: they only go on beside the wait.
        () = pipes.read_on(context) => unreachable!("read_on never returns"),
        () = feed => unreachable!("feed never returns"),
    };
    let killed = !matches!(end, End::Exited(_));
    if killed {
        group.kill_tree().await;
    }
    let drained = tokio::time::timeout(DRAIN, pipes.drain(context)).await;
    if drained.is_err() && !killed {
        // Something outlived its parent and still prints.
        group.kill_tree().await;
    }
    Ok(pipes.ended(end))
}

/// Waits until the program is started, unless the task must stop first: then it never is.
async fn started<T>(
    spawned: impl Future<Output = T>,
    until: Instant,
    context: &ToolContext,
) -> Result<T, End> {
    tokio::select! {
        biased;
        spawned = spawned => Ok(spawned),
        reason = context.stopped() => Err(End::Stopped(reason)),
        () = sleep_until(until) => Err(End::TimedOut),
    }
}

async fn wait(child: &mut Child, until: Instant, context: &ToolContext) -> io::Result<End> {
    tokio::select! {
        status = child.wait() => status.map(End::Exited),
        reason = context.stopped() => Ok(End::Stopped(reason)),
        () = sleep_until(until) => Ok(End::TimedOut),
    }
}

/// Writes `input` and closes the pipe. A program need not read it: errors mean nothing.
async fn feed(stdin: Option<ChildStdin>, input: Option<Vec<u8>>) {
    if let (Some(mut stdin), Some(input)) = (stdin, input) {
        let _ = stdin.write_all(&input).await;
    }
    std::future::pending::<()>().await;
}

/// Both ends that the worker reads, and what is kept of them.
struct Pipes {
    out: Pipe<tokio::process::ChildStdout>,
    err: Pipe<tokio::process::ChildStderr>,
    output: Capped,
}

impl Pipes {
    fn of(child: &mut Child, stdout: Capped) -> Self {
        Self {
            out: Pipe::new(child.stdout.take(), stdout),
            err: Pipe::new(child.stderr.take(), Capped::default()),
            output: Capped::default(),
        }
    }

    /// Those of a program that never ran.
    fn closed(stdout: Capped) -> Self {
        Self {
            out: Pipe::new(None, stdout),
            err: Pipe::new(None, Capped::default()),
            output: Capped::default(),
        }
    }

    /// Reads as long as it is polled.
    async fn read_on(&mut self, context: &ToolContext) {
        self.drain(context).await;
        std::future::pending::<()>().await;
    }

    /// Reads until both ends are closed. Nothing is lost when this is dropped half-way.
    async fn drain(&mut self, context: &ToolContext) {
        loop {
            let piece = tokio::select! {
                Some(piece) = self.out.next() => piece,
                Some(piece) = self.err.next() => piece,
                else => return,
            };
            self.output.push(&piece);
            context.progress(piece);
        }
    }

    fn ended(self, end: End) -> Ended {
        Ended {
            end,
            stdout: self.out.kept,
            stderr: self.err.kept,
            output: self.output,
        }
    }
}

struct Pipe<R> {
    reader: Option<R>,
    buffer: Vec<u8>,
    kept: Capped,
}

impl<R: AsyncRead + Unpin> Pipe<R> {
    fn new(reader: Option<R>, kept: Capped) -> Self {
        Self {
            reader,
            buffer: vec![0; CHUNK],
            kept,
        }
    }

    /// The next piece; `None` at the end. Cancel safe: a read is taken whole or not at all.
    async fn next(&mut self) -> Option<Bytes> {
        let reader = self.reader.as_mut()?;
        match reader.read(&mut self.buffer).await {
            Ok(count) if count > 0 => {
                let piece = &self.buffer[..count];
                self.kept.push(piece);
                Some(Bytes::copy_from_slice(piece))
            }
            _ => {
                self.reader = None;
                None
            }
        }
    }
}
