//! How a child begins: in a session of its own, without the worker's credentials, bound to the
//! life of the worker, in its sandbox.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use a3s_shared::protocol::{ExternalTask, clock};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getppid, setrlimit, setsid};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Limits;
use super::orphans::{RunNumber, Running};
use crate::context::ToolContext;
use crate::sandbox::{Home, Sandbox};

/// Marks every process of one run, wherever it goes; unique on this machine.
pub(super) const MARK: &str = "A3S_RUN_MARK";
/// How often a busy program is tried again, and after which pause.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A command that runs `program` for `task` in the workspace's root.
///
/// Its environment is what the policy shows of the worker's, never `NATS_*` and `A3S_*`, so that
/// no task can read the broker's credentials, plus `A3S_TASK_ID` and `A3S_SESSION_ID`.
pub(in crate::tools) fn command(
    program: &std::path::Path,
    task: &ExternalTask,
    context: &ToolContext,
    limits: Limits,
) -> Command {
    let mut command = context.sandbox().command(program);
    command
        .current_dir(context.workspace().root())
        .env("A3S_TASK_ID", &task.task_id)
        .env("A3S_SESSION_ID", &task.session_id);
    prepare(&mut command, limits);
    command
}

/// What the child does to itself between fork and exec.
#[allow(
    unsafe_code,
    reason = "pre_exec is the only hook between fork and exec"
)]
fn prepare(command: &mut Command, limits: Limits) {
    let worker = getpid();
    // SAFETY: the closure only makes system calls; it takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            setsid()?;
            die_with(worker)?;
            limit(Resource::As, limits.max_memory, 0)?;
            // SIGXCPU at the limit says what it was; SIGKILL follows for who ignores it.
            limit(Resource::Cpu, limits.max_cpu_seconds, 1)?;
            limit(Resource::Nproc, limits.max_processes, 0)
        });
    }
}

/// The child does not become the program when `until` is over: it may be stopped between fork and
/// exec, with the worker.
#[allow(
    unsafe_code,
    reason = "pre_exec is the only hook between fork and exec"
)]
fn not_after(command: &mut Command, until: Instant) {
    // SAFETY: the closure only reads a clock; it takes no lock and allocates nothing.
    unsafe {
        command.pre_exec(move || match until <= Instant::now() {
            true => Err(Errno::TIMEDOUT.into()),
            false => Ok(()),
        });
    }
}

/// The kernel kills the child when the worker dies, even by SIGKILL. It does not reach the
/// child's own children.
#[cfg(target_os = "linux")]
fn die_with(worker: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The worker may have died before that call; then no signal would come.
    if getppid() == Some(worker) {
        Ok(())
    } else {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with(_worker: Pid) -> io::Result<()> {
    Ok(())
}

/// Sets the soft limit to `maximum`, and the hard one `more` above.
fn limit(resource: Resource, maximum: Option<u64>, more: u64) -> io::Result<()> {
    let Some(maximum) = maximum else {
        return Ok(());
    };
    let both = Rlimit {
        current: Some(maximum),
        maximum: Some(maximum.saturating_add(more)),
    };
    Ok(setrlimit(resource, both)?)
}

/// A program that was started.
pub(super) struct Started {
    pub(super) child: Child,
    /// The value of [`MARK`] that its processes are known by.
    pub(super) mark: String,
    /// In a sandbox: as long as it is kept, what it leaves in the background is its own.
    pub(super) running: Option<Running>,
    /// In a sandbox: its directory for temporary files.
    pub(super) home: Option<Home>,
}

/// Starts `command` in the sandbox of `context`; `None` when its turn comes after `until`.
///
/// # Errors
/// When the program cannot be started.
pub(super) async fn spawn(
    mut command: Command,
    stdin: bool,
    until: Instant,
    context: &ToolContext,
) -> io::Result<Option<Started>> {
    let mark = new_mark();
    let input = if stdin { Stdio::piped() } else { Stdio::null() };
    command
        .env(MARK, &mark)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let (answer, child) = oneshot::channel();
    let request = Request {
        command,
        mark,
        until,
        sandbox: Arc::clone(context.sandbox()),
        workspace: context.workspace().root().to_owned(),
        runtime: Handle::current(),
        answer,
    };
    let gone = || io::Error::other("the thread that starts programs is gone");
    spawner().send(request).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

/// A value of [`MARK`]. The time is in it because workers in other containers, whose processes
/// this one may see, can have the same process id; a random number, so that no program can take
/// another one's mark.
fn new_mark() -> String {
    static BEGUN: LazyLock<u64> = LazyLock::new(clock::local_now_ms);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let secret = rand::random::<u64>();
    format!("{}-{}-{number}-{secret:x}", *BEGUN, std::process::id())
}

struct Request {
    command: Command,
    mark: String,
    until: Instant,
    sandbox: Arc<Sandbox>,
    workspace: PathBuf,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Option<Started>>>,
}

/// The thread that starts every child.
///
/// The kernel's "parent" of a death signal is the thread that forked, not the process: a child
/// of a runtime's thread would be killed when that thread goes. This one never goes.
fn spawner() -> &'static mpsc::Sender<Request> {
    static SPAWNER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        // When no thread can be made, `requests` is dropped and every send says so.
        let _ = std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || requests.into_iter().for_each(Request::serve));
        sender
    })
}

impl Request {
    fn serve(mut self) {
        // The task was stopped while this waited for its turn: what has not begun must not begin
        // after the task's deadline, let alone after its result.
        if self.answer.is_closed() {
            return;
        }
        let _runtime = self.runtime.enter();
        // The clock is asked too: in a process that was stopped (SIGSTOP, a frozen container), and
        // goes on, this thread may come before the one that would stop the task.
        let started = if self.until <= Instant::now() {
            Ok(None)
        } else {
            match self.start() {
                Err(_) if self.until <= Instant::now() => Ok(None),
                started => started.map(Some),
            }
        };
        // When nobody waits any more, the child is dropped here, and killed by that.
        let _ = self.answer.send(started);
    }

    fn start(&mut self) -> io::Result<Started> {
        let mark = std::mem::take(&mut self.mark);
        let number = RunNumber::next();
        let home = self
            .sandbox
            .confine(&mut self.command, &self.workspace, number);
        let home = home.map_err(|e| io::Error::new(e.kind(), format!("no sandbox for it: {e}")))?;
        not_after(&mut self.command, self.until);
        let (child, running) = if home.is_some() {
            let (child, running) = Running::begin(number, || self.fork())?;
            (child, Some(running))
        } else {
            (self.fork()?, None)
        };
        Ok(Started {
            child,
            mark,
            running,
            home,
        })
    }

    /// A program that was written a moment ago is busy while some other child, forked meanwhile
    /// and not yet at its exec, holds the writer's file open: gone in a moment.
    fn fork(&mut self) -> io::Result<Child> {
        for _ in 0..BUSY_TRIES {
            match self.command.spawn() {
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => {
                    #[expect(clippy::disallowed_methods, reason = "on a thread of its own")]
                    std::thread::sleep(BUSY_PAUSE);
                }
                started => return started,
            }
        }
        self.command.spawn()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    type Answer = oneshot::Receiver<io::Result<Option<Started>>>;

    fn request(command: Command, until: Instant, dir: &Path) -> (Request, Answer) {
        let (answer, child) = oneshot::channel();
        let request = Request {
            command,
            mark: new_mark(),
            until,
            sandbox: Arc::default(),
            workspace: dir.to_owned(),
            runtime: Handle::current(),
            answer,
        };
        (request, child)
    }

    #[tokio::test]
    #[allow(unsafe_code, reason = "as above")]
    async fn what_is_stopped_between_fork_and_exec_until_it_is_too_late_is_not_started() {
        let dir = tempfile::tempdir().expect("a directory");
        for (file, stopped_ms, starts) in [("in-time", 0, true), ("late", 300, false)] {
            let path = dir.path().join(file);
            let mut command = Command::new("touch");
            command.arg(&path);
            // SAFETY: it only sleeps, as a process that is stopped does.
            unsafe {
                command.pre_exec(move || {
                    #[expect(clippy::disallowed_methods, reason = "in the child")]
                    std::thread::sleep(Duration::from_millis(stopped_ms));
                    Ok(())
                });
            }
            let until = Instant::now() + Duration::from_millis(if starts { 60_000 } else { 100 });
            let (request, child) = request(command, until, dir.path());
            request.serve();
            let started = child.await.expect("an answer").expect("no error");
            assert_eq!(started.is_some(), starts, "{file}");
            if let Some(mut started) = started {
                started.child.wait().await.expect("it ends");
            }
            assert_eq!(path.exists(), starts, "{file}");
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_or_what_comes_too_late_is_not_started() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        for (file, until, awaited) in [
            ("awaited", later, true),
            ("stopped", later, false),
            ("late", now, true),
        ] {
            let path = dir.path().join(file);
            let mut command = Command::new("touch");
            command.arg(&path);
            let (request, child) = request(command, until, dir.path());
            let mut started = None;
            if awaited {
                request.serve();
                started = child.await.expect("an answer").expect("no error");
            } else {
                drop(child);
                request.serve();
            }
            assert_eq!(started.is_some(), file == "awaited", "{file}");
            match started {
                Some(mut started) => drop(started.child.wait().await.expect("it ends")),
                // As long as a process that was started would need, many times over.
                None => tokio::time::sleep(Duration::from_millis(200)).await,
            }
            assert_eq!(path.exists(), file == "awaited", "{file}");
        }
    }
}
