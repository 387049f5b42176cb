//! One nats-server process: started, ready, stopped; never an orphan.
//!
//! It knows nothing of who uses it: the embedded server and the tests both stand on it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::child::spawn_bound;

/// How long a server may take to be ready. It recovers its store before it listens, and a large
/// one takes a while.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// How long a server may take to stop after SIGTERM before it is killed.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// How often a starting or stopping server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How a server is started.
#[derive(Debug)]
pub struct Launch {
    /// The nats-server binary.
    pub binary: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    /// A directory for the file in which the server says on which port it listens.
    pub ports_dir: PathBuf,
    /// Where its log goes; overwritten.
    pub log: PathBuf,
    /// A file that the server keeps open as long as it lives, so that a lock on it ends with
    /// the last of parent and child.
    pub hold: Option<File>,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The process could not be started, or its files not written.
    #[error("cannot start nats-server {path}: {source}")]
    Io {
        /// What could not be used.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It ended before it was ready: most often its configuration is wrong or its store damaged.
    #[error("nats-server ended before it was ready ({status}); the end of its log:\n{log}")]
    Ended {
        /// How it ended.
        status: String,
        /// The last lines that it wrote.
        log: String,
    },
    /// It did not listen in time.
    #[error("nats-server was not ready after {after:?}; the end of its log:\n{log}")]
    NotReady {
        /// How long was waited.
        after: Duration,
        /// The last lines that it wrote.
        log: String,
    },
}

/// A running nats-server. Stopped on drop, which may block for as long as the server needs to
/// write its state (milliseconds, ten seconds at most).
#[derive(Debug)]
pub struct NatsServer {
    child: Child,
    url: String,
}

impl NatsServer {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// [`LaunchError`]; no process is left behind then.
    pub async fn launch(launch: Launch) -> Result<Self, LaunchError> {
        let child = start(&launch)?;
        // From here on the drop of `server` cleans up.
        let mut server = Self {
            child,
            url: String::new(),
        };
        let began = Instant::now();
        while began.elapsed() < READY_WITHIN {
            if let Some(status) = server.child.try_wait().map_err(io_at(&launch.binary))? {
                let (status, log) = (status.to_string(), tail(&launch.log));
                return Err(LaunchError::Ended { status, log });
            }
            if let Some(url) = announced(&launch.ports_dir, server.pid())
                && answers(&url).await
            {
                server.url = url;
                return Ok(server);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let log = tail(&launch.log);
        Err(LaunchError::NotReady {
            after: READY_WITHIN,
            log,
        })
    }

    /// Where clients connect, for instance `nats://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id of the server.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended: its id may be somebody else's by now.
    pub fn signal(&mut self, signal: Signal) {
        let pid = self.child.id().try_into().ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| self.is_running()) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Kills the server with SIGKILL and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Stops the server: SIGTERM, ten seconds of patience, SIGKILL.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while self.is_running() && began.elapsed() < STOPPED_WITHIN {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.kill();
    }
}

impl Drop for NatsServer {
    #[allow(
        clippy::disallowed_methods,
        reason = "drop cannot await; the wait is milliseconds"
    )]
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let began = Instant::now();
        while self.is_running() && began.elapsed() < STOPPED_WITHIN {
            std::thread::sleep(LOOK_EVERY);
        }
        self.kill();
    }
}

/// Whether a NATS server greets at `url` (`nats://host:port`, `tls://host:port`) within half a
/// second. The greeting comes before TLS, so no certificate is needed to ask.
pub async fn answers(url: &str) -> bool {
    let address = url.split_once("://").map_or(url, |(_, address)| address);
    let greeting = async {
        let mut stream = TcpStream::connect(address).await?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await?;
        Ok::<_, io::Error>(&start == b"INFO ")
    };
    let greeting = tokio::time::timeout(Duration::from_millis(500), greeting).await;
    matches!(greeting, Ok(Ok(true)))
}

fn start(launch: &Launch) -> Result<Child, LaunchError> {
    // A killed server leaves its ports file behind, and process ids come again.
    let _ = std::fs::remove_dir_all(&launch.ports_dir);
    std::fs::create_dir_all(&launch.ports_dir).map_err(io_at(&launch.ports_dir))?;
    let log = File::create(&launch.log).map_err(io_at(&launch.log))?;
    let hold = launch.hold.as_ref().map(File::try_clone).transpose();
    let hold = hold.map_err(io_at(&launch.log))?;
    let mut command = Command::new(&launch.binary);
    command
        .arg("--config")
        .arg(&launch.config)
        .arg("--ports_file_dir")
        .arg(&launch.ports_dir)
        .stdin(hold.map_or_else(Stdio::null, Stdio::from))
        .stdout(Stdio::null())
        .stderr(log)
        // A group of its own: Ctrl-C in the terminal must reach the coordinator first, which
        // still needs the server to finish.
        .process_group(0);
    spawn_bound(command).map_err(io_at(&launch.binary))
}

/// What the server with this process id wrote into its ports file, if it has done so.
fn announced(dir: &Path, pid: u32) -> Option<String> {
    let name_end = format!("_{pid}.ports");
    let mut entries = std::fs::read_dir(dir).ok()?.filter_map(Result::ok);
    let file = entries.find(|e| e.file_name().to_string_lossy().ends_with(&name_end))?;
    let ports: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    Some(ports["nats"][0].as_str()?.to_owned())
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> LaunchError + use<> {
    let path = path.to_owned();
    move |source| LaunchError::Io { path, source }
}
