//! A program of ours as a process: found beside this one, told nothing by our environment.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use a3s_shared::runtime::child::spawn_bound;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// What a worker says when it pulls; the floor's says the same.
const READY: &str = "ready for tasks";

/// What a worker says that is worth repeating here.
const TROUBLE: [&str; 2] = ["WARN", "rror"];

/// How long a worker may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// How long a worker may take to end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(10);

/// How often an ending process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The program `name`, built with this one.
pub(crate) fn path(name: &str) -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name(name);
    if !beside.is_file() {
        bail!(
            "{} is missing: `cargo build --release -p {name}` builds it",
            beside.display()
        );
    }
    Ok(beside)
}

/// A command that runs `name`. Of the environment it has only where things are.
pub(crate) fn command(name: &str) -> Result<Command> {
    let mut command = Command::new(path(name)?);
    command.env_clear().stdin(Stdio::null());
    let kept = ["PATH", "HOME", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
    for (name, value) in kept {
        command.envs(value.map(|value| (name, value)));
    }
    Ok(command)
}

/// Runs a program to its end. What it printed; what it said to standard error is ours to see.
pub(crate) async fn finish(mut command: Command) -> Result<Vec<u8>> {
    command.stdout(Stdio::piped());
    let child = spawn_bound(command)?;
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    if !ended.status.success() {
        bail!(
            "a submitter failed ({}); see what it said above",
            ended.status
        );
    }
    Ok(ended.stdout)
}

/// A worker that runs. Killed on drop, and with this process.
#[derive(Debug)]
pub(crate) struct Worker {
    child: Child,
    told: Option<oneshot::Receiver<()>>,
}

impl Worker {
    /// Starts one.
    pub(crate) fn spawn(mut command: Command) -> Result<Self> {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn_bound(command)?;
        let stderr = child.stderr.take().context("stderr is piped")?;
        let (tell, told) = oneshot::channel();
        // Reads to the end: a full pipe would stop the worker.
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.contains(READY) {
                    tell.take().map(|tell| tell.send(()));
                } else if tell.is_some() || TROUBLE.iter().any(|word| line.contains(word)) {
                    eprintln!("  {line}");
                }
            }
        });
        let told = Some(told);
        Ok(Self { child, told })
    }

    /// Starts one and waits until it pulls.
    pub(crate) async fn start(command: Command) -> Result<Self> {
        let mut worker = Self::spawn(command)?;
        worker.ready().await?;
        Ok(worker)
    }

    /// Waits until it pulls.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let Some(told) = self.told.take() else {
            return Ok(());
        };
        match timeout(READY_WITHIN, told).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("a worker ended at its start; see what it said above"),
            Err(_) => bail!("a worker was not ready within {READY_WITHIN:?}"),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks it to finish, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let ended = async {
            while self.child.try_wait()?.is_none() {
                sleep(LOOK_EVERY).await;
            }
            anyhow::Ok(())
        };
        let ended = timeout(STOP_WITHIN, ended).await;
        ended.with_context(|| format!("a worker did not end within {STOP_WITHIN:?}"))?
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
