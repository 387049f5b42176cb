//! How a program ends, with everything that it started.
//!
//! The process group gets what is in it. What has left the group is found in /proc: by its
//! session, by its parents, and by a mark in its environment, which also finds a daemon that has
//! neither any more. Only a process that leaves the session, loses its parent and wipes its
//! environment is missed; a worker that must not leave even that behind belongs in a container.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;

/// Rounds of looking and killing; a process can fork while it is looked for.
const ROUNDS: u32 = 40;
/// Between two rounds, so that the kernel has time to take a killed process away.
const PAUSE: Duration = Duration::from_millis(5);

/// The process group of one program; killed when this is dropped, so that a program that is
/// over, or whose task was given up, leaves nothing of it behind.
#[derive(Debug)]
pub(super) struct Group {
    leader: Option<Pid>,
    mark: String,
}

impl Group {
    /// The group that `child` leads; its processes carry `mark`.
    pub(super) fn of(child: &Child, mark: String) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self {
            leader: id.and_then(Pid::from_raw),
            mark,
        }
    }

    /// Kills the program and all that descends from it, and returns when it is gone.
    pub(super) async fn kill_tree(&self) {
        let Some(leader) = self.leader else { return };
        let _ = kill_process_group(leader, Signal::KILL);
        let mark = format!("{}={}", super::spawn::MARK, self.mark);
        // The walk reads one small file a process: too long for a thread that drives the worker.
        let _ = tokio::task::spawn_blocking(move || kill_found(leader, &mark)).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Also when the leader was reaped long ago: its number is not given again while the
        // group has a member, and an empty group is an error that means nothing.
        if let Some(leader) = self.leader {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn kill_found(leader: Pid, mark: &str) {
    for _ in 0..ROUNDS {
        let found = descendants(leader, mark);
        if found.is_empty() {
            return;
        }
        for pid in found {
            let _ = kill_process(pid, Signal::KILL);
        }
        #[expect(clippy::disallowed_methods, reason = "on a thread for blocking work")]
        std::thread::sleep(PAUSE);
    }
    tracing::warn!(process.id = %leader, "a program left processes that cannot be killed");
}

/// Every living process that belongs to the program.
fn descendants(leader: Pid, mark: &str) -> Vec<Pid> {
    let processes = processes();
    let leader = leader.as_raw_pid();
    let mut ours = BTreeSet::from([leader]);
    for process in &processes {
        let inside = process.session == leader || process.group == leader;
        if inside || carries(process.pid, mark) {
            ours.insert(process.pid);
        }
    }
    // Children of ours, and theirs, until no more are found.
    while processes
        .iter()
        .any(|p| ours.contains(&p.parent) && ours.insert(p.pid))
    {}
    let living = processes.iter().filter(|p| !p.dead);
    living
        .filter(|p| ours.contains(&p.pid))
        .filter_map(|p| Pid::from_raw(p.pid))
        .collect()
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    dead: bool,
}

/// What runs on this machine; nothing where there is no /proc.
fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names
        .filter_map(|name| process(name.parse().ok()?))
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in brackets, and may hold anything, brackets too.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    Some(Process {
        pid,
        parent: number()?,
        group: number()?,
        session: number()?,
        dead: matches!(state, "Z" | "X"),
    })
}

/// Whether the process was started with `mark` in its environment.
fn carries(pid: i32, mark: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark.as_bytes())
}
