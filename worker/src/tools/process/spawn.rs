//! How a child begins: in a session of its own, without the worker's credentials, bound to the
//! life of the worker.

use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{LazyLock, OnceLock};
use std::time::Duration;

use a3s_shared::protocol::{ExternalTask, clock};
use rustix::process::{Pid, Resource, Rlimit, Signal, getpid, getppid, setrlimit, setsid};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::context::ToolContext;

/// Marks every process of one run, wherever it goes; unique on this machine.
pub(super) const MARK: &str = "A3S_RUN_MARK";
/// How often a busy program is tried again, and after which pause.
const BUSY_TRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// What one process of a program may use. `None` is no limit of ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Address space of each process, in bytes.
    pub max_memory: Option<u64>,
    /// Processor time of each process, in seconds; then it is killed.
    pub max_cpu_seconds: Option<u64>,
    /// Processes of the worker's user, all tasks together; root has no such limit.
    pub max_processes: Option<u64>,
}

/// A command that runs `program` for `task` in the workspace's root.
///
/// Its environment is the worker's without `NATS_*` and `A3S_*`, so that no task can read the
/// broker's credentials, plus `A3S_TASK_ID` and `A3S_SESSION_ID`.
pub(in crate::tools) fn command(
    program: &std::path::Path,
    task: &ExternalTask,
    context: &ToolContext,
    limits: Limits,
) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("NATS_") || shown.starts_with("A3S_") {
            command.env_remove(&name);
        }
    }
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
            limit(Resource::As, limits.max_memory)?;
            limit(Resource::Cpu, limits.max_cpu_seconds)?;
            limit(Resource::Nproc, limits.max_processes)
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

fn limit(resource: Resource, maximum: Option<u64>) -> io::Result<()> {
    let Some(maximum) = maximum else {
        return Ok(());
    };
    let both = Rlimit {
        current: Some(maximum),
        maximum: Some(maximum),
    };
    Ok(setrlimit(resource, both)?)
}

/// Starts `command`, and says by which value of [`MARK`] its processes are known.
///
/// # Errors
/// When the program cannot be started.
pub(super) async fn spawn(mut command: Command, stdin: bool) -> io::Result<(Child, String)> {
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
        runtime: Handle::current(),
        answer,
    };
    let gone = || io::Error::other("the thread that starts programs is gone");
    spawner().send(request).map_err(|_| gone())?;
    let child = child.await.map_err(|_| gone())??;
    Ok((child, mark))
}

/// A value of [`MARK`]. The time is in it because workers in other containers, whose processes
/// this one may see, can have the same process id.
fn new_mark() -> String {
    static BEGUN: LazyLock<u64> = LazyLock::new(clock::local_now_ms);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{number}", *BEGUN, std::process::id())
}

struct Request {
    command: Command,
    runtime: Handle,
    answer: oneshot::Sender<io::Result<Child>>,
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
        let child = self.start();
        // When nobody waits any more, the child is dropped here, and killed by that.
        let _ = self.answer.send(child);
    }

    /// A program that was written a moment ago is busy while some other child, forked meanwhile
    /// and not yet at its exec, holds the writer's file open: gone in a moment.
    fn start(&mut self) -> io::Result<Child> {
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
    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_is_not_started() {
        let dir = tempfile::tempdir().expect("a directory");
        for (awaited, file) in [(true, "awaited"), (false, "stopped")] {
            let path = dir.path().join(file);
            let mut command = Command::new("touch");
            command.arg(&path);
            let (answer, child) = oneshot::channel();
            let request = Request {
                command,
                runtime: Handle::current(),
                answer,
            };
            if awaited {
                request.serve();
                let mut child = child.await.expect("an answer").expect("it starts");
                child.wait().await.expect("it ends");
            } else {
                drop(child);
                request.serve();
                // As long as a process that was started would need, many times over.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            assert_eq!(path.exists(), awaited, "{file}");
        }
    }
}
