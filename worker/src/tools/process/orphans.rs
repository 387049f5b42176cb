//! What left its task: processes whose parents are gone.
//!
//! In a sandbox the worker is the subreaper of its programs, so whatever they leave behind
//! becomes its child, however it hid: in a session of its own, without a parent, with an empty
//! environment. Which program it came from is told by a number that each process inherits and none
//! can raise again: the hard limit of a resource that nobody uses. A child whose program is over is
//! ended. Children that somebody else in this process has started have no limit at all.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, setrlimit, waitpid,
};
use tokio::process::Child;

/// Rounds of looking and ending: what is ended may leave children of its own.
const ROUNDS: u32 = 200;
/// Between two rounds, so that the kernel has time to hand on the children.
const PAUSE: Duration = Duration::from_millis(2);

/// The first number: a limit of 35 years on realtime processes, in microseconds.
const FIRST: u64 = 1 << 50;

/// The programs of this process, by their ids; with their number as long as their task runs.
/// Written by the thread that starts them, which holds it while it does; a child that is half
/// started is thus never taken for an orphan.
static PROGRAMS: Mutex<BTreeMap<i32, Option<u64>>> = Mutex::new(BTreeMap::new());

/// What the processes of one program are known by. Later ones are higher: a process that lowers its
/// own can pass for one of an older task, until that is over too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunNumber(u64);

impl RunNumber {
    /// A new one.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(FIRST);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Gives it to this process and all that it starts. Makes only system calls. Where this process
    /// is itself held to a limit, it does nothing.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) fn take(self) -> io::Result<()> {
        if is_limited() {
            return Ok(());
        }
        let number = Rlimit {
            current: Some(self.0),
            maximum: Some(self.0),
        };
        Ok(setrlimit(Resource::Rttime, number)?)
    }

    /// That of a process, or what it made of it; `None` when it was not started here.
    fn of(id: i32) -> Option<u64> {
        let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).ok()?;
        let name = "Max realtime timeout";
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        let hard = line.split_whitespace().nth(1)?;
        hard.parse().ok()
    }
}

/// Whether this process has a limit where the numbers are: then its children cannot be told from
/// those of others, and orphans are found by group, session and mark only.
fn is_limited() -> bool {
    getrlimit(Resource::Rttime).maximum.is_some()
}

/// A program that runs. When this is dropped its task is over.
#[derive(Debug)]
pub(super) struct Running(Option<i32>);

impl Running {
    /// Starts a program by `start`, whose processes are known by `number`.
    ///
    /// # Errors
    /// Those of `start`.
    pub(super) fn begin(
        number: RunNumber,
        start: impl FnOnce() -> io::Result<Child>,
    ) -> io::Result<(Child, Self)> {
        let mut programs = PROGRAMS.lock();
        let child = start()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id {
            programs.insert(id, Some(number.0));
        }
        Ok((child, Self(id)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(id) = self.0
            && let Some(number) = PROGRAMS.lock().get_mut(&id)
        {
            *number = None;
        }
    }
}

/// Ends every orphan of a program that is over, on a thread that may block.
pub(super) async fn end_all() {
    let _ = tokio::task::spawn_blocking(end).await;
}

/// As [`end_all`], for who cannot wait.
pub(super) fn end_all_soon() {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn_blocking(end));
    }
}

fn end() {
    if is_limited() {
        return;
    }
    for _ in 0..ROUNDS {
        if !end_once() {
            return;
        }
        #[expect(clippy::disallowed_methods, reason = "on a thread for what blocks")]
        std::thread::sleep(PAUSE);
    }
    tracing::warn!("processes that left their task cannot be ended");
}

/// Whether there was one.
fn end_once() -> bool {
    let mut programs = PROGRAMS.lock();
    let children = children();
    // Those that somebody waits for; until then their id is not given again.
    programs.retain(|id, number| number.is_some() || children.contains(id));
    let mut found = false;
    for id in children {
        let Some(pid) = Pid::from_raw(id).filter(|_| !programs.contains_key(&id)) else {
            continue;
        };
        let Some(number) = RunNumber::of(id) else {
            continue;
        };
        if programs.values().any(|running| *running == Some(number)) {
            continue;
        }
        found = true;
        let _ = kill_process(pid, Signal::KILL);
        // Its parent is this process, and nobody else here waits for it.
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
    found
}

/// The children of this process; nothing where the kernel does not list them.
fn children() -> Vec<i32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("children")).ok());
    let ids = lists.flat_map(|list| {
        let ids = list.split_whitespace().map(str::parse::<i32>);
        ids.filter_map(Result::ok).collect::<Vec<_>>()
    });
    ids.collect()
}
