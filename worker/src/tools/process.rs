//! Runs a program for a task: bounded memory, a bounded time, and nothing left running.
//!
//! * `limits`: what it may use.
//! * `spawn`: how a child begins (own session, limits, sandbox, death with its worker).
//! * `tree`: how it ends, with everything that it started; `orphans`: and what got away.

mod limits;
mod orphans;
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
use orphans::Running;

use crate::context::{StopReason, ToolContext};
use crate::policy::Refusal;
use crate::sandbox::Home;

pub use limits::{Limits, parse_size};
pub(crate) use orphans::RunNumber;
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
    /// It printed more than the policy allows, and it was killed.
    Flooded,
}

/// What a program left.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) stdout: Capped,
    pub(super) stderr: Capped,
    /// Both, in the order in which the worker read them.
    pub(super) output: Capped,
    /// What the policy says, if the end is [`End::Flooded`].
    pub(super) refusal: Option<Refusal>,
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
    let spawned = spawn::spawn(job.command, job.stdin.is_some(), job.until, context);
    let in_time = |spawned: io::Result<Option<_>>| spawned.transpose().ok_or(End::TimedOut);
    let started = started(spawned, job.until, context).await;
    let started = match started.and_then(in_time) {
        Ok(started) => started?,
        // It never ran: on a busy machine a start can take longer than the task has.
        Err(end) => return Ok(Pipes::closed(job.stdout).ended(end)),
    };
    let mut child = started.child;
    let group = tree::Group::of(&child, started.mark);
    let left = Left {
        running: started.running,
        _home: started.home,
    };
    let mut pipes = Pipes::of(&mut child, job.stdout);
    let feed = feed(child.stdin.take(), job.stdin);
    let mut end = tokio::select! {
        end = wait(&mut child, job.until, context) => end?,
        () = pipes.read_on(context) => End::Flooded,
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
    if pipes.refusal.is_some() {
        end = End::Flooded;
    }
    left.end().await;
    Ok(pipes.ended(end))
}

/// What a program in a sandbox may leave behind: processes and files. Ended when this is dropped,
/// too.
struct Left {
    running: Option<Running>,
    _home: Option<Home>,
}

impl Left {
    /// Ends it, and returns when it is gone.
    async fn end(mut self) {
        if self.running.take().is_some() {
            orphans::end_all().await;
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if self.running.take().is_some() {
            orphans::end_all_soon();
        }
    }
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
    /// Bytes of both.
    printed: u64,
    refusal: Option<Refusal>,
}

impl Pipes {
    fn of(child: &mut Child, stdout: Capped) -> Self {
        Self {
            out: Pipe::new(child.stdout.take(), stdout),
            err: Pipe::new(child.stderr.take(), Capped::default()),
            output: Capped::default(),
            printed: 0,
            refusal: None,
        }
    }

    /// Those of a program that never ran.
    fn closed(stdout: Capped) -> Self {
        Self {
            out: Pipe::new(None, stdout),
            err: Pipe::new(None, Capped::default()),
            output: Capped::default(),
            printed: 0,
            refusal: None,
        }
    }

    /// Reads as long as it is polled; returns only when it was too much.
    async fn read_on(&mut self, context: &ToolContext) {
        self.drain(context).await;
        if self.refusal.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads until both ends are closed, or it was too much. Nothing is lost when this is dropped
    /// half-way.
    async fn drain(&mut self, context: &ToolContext) {
        loop {
            let piece = tokio::select! {
                Some(piece) = self.out.next() => piece,
                Some(piece) = self.err.next() => piece,
                else => return,
            };
            self.output.push(&piece);
            self.printed += piece.len() as u64;
            context.progress(piece);
            if let Err(refusal) = context.sandbox().allow_printed(self.printed) {
                self.refusal = Some(refusal);
                return;
            }
        }
    }

    fn ended(self, end: End) -> Ended {
        Ended {
            end,
            stdout: self.out.kept,
            stderr: self.err.kept,
            output: self.output,
            refusal: self.refusal,
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
