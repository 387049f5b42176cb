//! A process of a run: a worker, or the one that submits. Killed, frozen, and started again by
//! whoever looks after it, as systemd would.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use a3s_shared::runtime::child::spawn_bound;
use a3s_testkit::Proxy;
use rustix::process::{Pid, Signal, kill_process};

/// The pause before a process that ended by itself is started again.
const START_AGAIN_AFTER: Duration = Duration::from_millis(300);

/// How its next life is started; it is told which one, from 1.
type Recipe = Box<dyn Fn(u32) -> Command>;

/// A process and its place in the run. Killed on drop.
pub(crate) struct Member {
    recipe: Recipe,
    child: Option<Child>,
    lives: u32,
    /// Whether it is to be left dead for now.
    down: bool,
    start_at: Instant,
    /// Its way to the server, where that can be broken.
    pub(crate) link: Option<Proxy>,
}

impl Member {
    /// A process that is not started yet.
    pub(crate) fn new(link: Option<Proxy>, recipe: Recipe) -> Self {
        Self {
            recipe,
            child: None,
            lives: 0,
            down: false,
            start_at: Instant::now(),
            link,
        }
    }

    /// Starts it when it is not there and should be. `Some` is the number and the process id of
    /// its new life.
    ///
    /// # Errors
    /// When it cannot be started at all.
    pub(crate) fn tend(&mut self) -> io::Result<Option<(u32, u32)>> {
        if let Some(child) = &mut self.child {
            if child.try_wait()?.is_none() {
                return Ok(None);
            }
            self.child = None;
            self.start_at = Instant::now() + START_AGAIN_AFTER;
        }
        if self.down || Instant::now() < self.start_at {
            return Ok(None);
        }
        self.lives += 1;
        let child = spawn_bound((self.recipe)(self.lives))?;
        let pid = child.id();
        self.child = Some(child);
        Ok(Some((self.lives, pid)))
    }

    /// Whether it has ended, and how; none while it runs or is not to run.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().ok()?
    }

    /// Kills it, and leaves it dead until [`Member::up`].
    pub(crate) fn kill(&mut self) {
        self.down = true;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to drain, and does not start it again until [`Member::up`].
    pub(crate) fn drain(&mut self) {
        self.down = true;
        self.signal(Signal::TERM);
    }

    /// Lets it be started again as soon as it is gone.
    pub(crate) fn up(&mut self) {
        self.down = false;
        self.start_at = Instant::now();
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let Some(child) = &mut self.child else { return };
        let runs = matches!(child.try_wait(), Ok(None));
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| runs) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command that sees nothing of what this process was told by its environment, that Ctrl-C in
/// the terminal does not reach, and whose talk goes to `log`.
pub(crate) fn command(program: &Path, join: &[(String, String)], log: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NATS_") || text.starts_with("A3S_") || text == "SESSION_ID" {
            command.env_remove(&name);
        }
    }
    let log = OpenOptions::new().create(true).append(true).open(log);
    command
        .envs(join.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.map_or_else(|_| Stdio::null(), Stdio::from))
        .process_group(0);
    command
}
