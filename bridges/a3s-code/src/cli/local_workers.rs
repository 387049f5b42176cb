//! `--local-workers N`: worker processes beside the agent, gone with it.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use a3s_shared::broker::Fleet;
use a3s_shared::protocol::Serves;
use a3s_shared::runtime::child::spawn_bound;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;

/// The program.
const PROGRAM: &str = "a3s-worker";

/// How long workers may take until they are heard of.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// How long a worker may take to finish after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often a process is looked at that gives no event when it ends.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Variables that would lead a worker to another server, session or place than ours.
const CLEARED: [&str; 6] = [
    "A3S_EMBEDDED",
    "A3S_NO_EMBEDDED",
    "SESSION_ID",
    "A3S_POOL",
    "A3S_WORKSPACE",
    "A3S_WORKER_ID",
];

/// Worker processes to start.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Local workers")]
pub(crate) struct LocalWorkerOptions {
    /// Start N workers on this machine, which end with this command
    #[arg(
        long,
        global = true,
        value_name = "N",
        env = "A3S_LOCAL_WORKERS",
        default_value_t = 0
    )]
    local_workers: usize,

    /// The directory that the agent and local workers see
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "A3S_WORKSPACE",
        default_value = "."
    )]
    pub(crate) workspace: PathBuf,

    /// Where the worker program is, if neither beside this one nor on PATH
    #[arg(long, global = true, value_name = "DIR", env = "A3S_BIN_DIR")]
    bin_dir: Option<PathBuf>,
}

/// The processes. Stopped by [`LocalWorkers::stop`], killed on drop, and killed by the kernel when
/// this process is.
#[derive(Debug, Default)]
pub(crate) struct LocalWorkers(Vec<Child>);

impl LocalWorkers {
    /// Starts what the options say. `join` is the environment that leads to our server, `serves`
    /// whose tasks they take.
    pub(crate) fn start(
        options: &LocalWorkerOptions,
        join: &[(String, String)],
        serves: &Serves,
    ) -> Result<Self, Failure> {
        let mut workers = Self::default();
        if options.local_workers == 0 {
            return Ok(workers);
        }
        let program = find(options.bin_dir.as_deref())?;
        for _ in 0..options.local_workers {
            let child = spawn_bound(command(&program, options, join, serves));
            let child = child.map_err(|error| {
                Failure::broker(format!("cannot start {}: {error}", program.display()))
            })?;
            workers.0.push(child);
        }
        Ok(workers)
    }

    /// Waits until all of them are heard of.
    pub(crate) async fn ready(&mut self, fleet: &Fleet) -> Result<(), Failure> {
        let until = Instant::now() + READY_WITHIN;
        let mut fleet = fleet.clone();
        while !self.are_in(&fleet) {
            for child in &mut self.0 {
                if let Ok(Some(status)) = child.try_wait() {
                    return Err(Failure::broker(format!(
                        "a local worker ended at its start ({status}): see what it said above"
                    )));
                }
            }
            if Instant::now() >= until {
                return Err(Failure::broker(format!(
                    "the local workers did not report within {READY_WITHIN:?}; \
                     RUST_LOG=info shows what they do"
                )));
            }
            let _ = timeout(LOOK_EVERY, fleet.changed()).await;
        }
        Ok(())
    }

    fn are_in(&self, fleet: &Fleet) -> bool {
        let here = hostname::get().unwrap_or_default();
        let here = here.to_string_lossy();
        let present = fleet.workers();
        self.0.iter().all(|child| {
            let mut present = present.iter();
            present.any(|worker| worker.pid == child.id() && worker.host == here)
        })
    }

    /// Asks them to finish, and ends those that do not.
    pub(crate) async fn stop(mut self) {
        for child in &self.0 {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            if let Some(pid) = pid {
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        let until = Instant::now() + STOP_WITHIN;
        while self.any_runs() && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
    }

    fn any_runs(&mut self) -> bool {
        let mut workers = self.0.iter_mut();
        workers.any(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for LocalWorkers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn command(
    program: &Path,
    options: &LocalWorkerOptions,
    join: &[(String, String)],
    serves: &Serves,
) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let foreign = name.to_string_lossy().starts_with("NATS_");
        if foreign || CLEARED.iter().any(|&cleared| name == cleared) {
            command.env_remove(name);
        }
    }
    command.envs(join.iter().map(|(name, value)| (name, value)));
    if std::env::var_os("RUST_LOG").is_none() {
        command.env("RUST_LOG", "warn");
    }
    match serves {
        Serves::Pool(pool) => command.args(["--pool", pool]),
        Serves::Session(session) => command.args(["--session-id", session]),
    };
    command
        .arg("--workspace")
        .arg(&options.workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Ctrl-C is for the agent, which ends them when it has finished.
        .process_group(0);
    command
}

/// The program in `dir`, else beside ours, else on PATH.
fn find(dir: Option<&Path>) -> Result<PathBuf, Failure> {
    let beside = std::env::current_exe().ok();
    let beside = beside.map(|exe| exe.with_file_name(PROGRAM));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join(PROGRAM));
    dir.map(|dir| dir.join(PROGRAM))
        .into_iter()
        .chain(beside)
        .chain(on_path)
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Failure::broker(format!(
                "{PROGRAM} is neither in --bin-dir, nor beside this program, nor on PATH: install \
                 it with `cargo install --path worker`"
            ))
        })
}
