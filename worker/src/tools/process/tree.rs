//! How a program ends, with everything that it started.
//!
//! The process group gets what is in it. What has left the group is found in /proc: by its
//! session, by its parents, and by a mark in its environment, which also finds a daemon that has
//! neither any more. Only a process that leaves the session, loses its parent and wipes its
//! environment is missed; a worker that must not leave even that behind belongs in a container.

use std::collections::BTreeSet;
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::Child;
use tokio::sync::oneshot;

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
        let (gone, told) = oneshot::channel();
        let tree = Tree {
            leader,
            mark: self.mark.clone(),
            rounds: 0,
            gone,
        };
        // Neither fails unless there is no thread to be had; the group is killed already then.
        if reaper().send(tree).is_ok() {
            let _ = told.await;
        }
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

/// A program whose every process is to be found and killed.
struct Tree {
    leader: Pid,
    mark: String,
    rounds: u32,
    gone: oneshot::Sender<()>,
}

/// The thread that looks for processes which left their group. One for all programs: a look reads
/// two small files of each process on the machine, and when a hundred tasks are cancelled in one
/// moment, it is the same look for all of them.
fn reaper() -> &'static mpsc::Sender<Tree> {
    static REAPER: OnceLock<mpsc::Sender<Tree>> = OnceLock::new();
    REAPER.get_or_init(|| {
        let (sender, trees) = mpsc::channel();
        // When no thread can be made, `trees` is dropped and every send says so.
        let _ = std::thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || reap(&trees));
        sender
    })
}

fn reap(trees: &mpsc::Receiver<Tree>) {
    while let Ok(first) = trees.recv() {
        let mut open = vec![first];
        while !open.is_empty() {
            open.extend(trees.try_iter());
            let processes = processes();
            open = open
                .into_iter()
                .filter_map(|tree| tree.kill(&processes))
                .collect();
            if !open.is_empty() {
                #[expect(clippy::disallowed_methods, reason = "on a thread of its own")]
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl Tree {
    /// Kills what is left of it; itself, as long as there was something.
    fn kill(mut self, processes: &[Process]) -> Option<Self> {
        let found = self.descendants(processes);
        self.rounds += 1;
        if !found.is_empty() && self.rounds <= ROUNDS {
            for pid in found {
                let _ = kill_process(pid, Signal::KILL);
            }
            return Some(self);
        }
        if !found.is_empty() {
            let leader = self.leader;
            tracing::warn!(process.id = %leader, "a program left processes that cannot be killed");
        }
        // Whoever gave the task up meanwhile does not listen.
        let _ = self.gone.send(());
        None
    }

    /// Every living process that belongs to the program.
    fn descendants(&self, processes: &[Process]) -> Vec<Pid> {
        let leader = self.leader.as_raw_pid();
        let mut ours = BTreeSet::from([leader]);
        for process in processes {
            let inside = process.session == leader || process.group == leader;
            if inside || process.mark.as_deref() == Some(self.mark.as_bytes()) {
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
}

struct Process {
    pid: i32,
    parent: i32,
    group: i32,
    session: i32,
    dead: bool,
    /// The value of [`super::spawn::MARK`] that it was started with.
    mark: Option<Vec<u8>>,
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
        mark: mark_of(pid),
    })
}

fn mark_of(pid: i32) -> Option<Vec<u8>> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    variables.find_map(|variable| {
        let value = variable.strip_prefix(super::spawn::MARK.as_bytes())?;
        Some(value.strip_prefix(b"=")?.to_vec())
    })
}
