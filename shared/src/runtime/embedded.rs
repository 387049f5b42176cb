//! A nats-server of our own, for users who have none: a child of the coordinator.
//!
//! One directory holds everything: the store, the configuration with a generated credential
//! (whoever can publish can run commands, so there is always one), and `embedded.json`, by
//! which other processes of this user find the server. A lock on the directory is held by the
//! coordinator *and* its server, so that a store never has two servers, even while the server
//! of a killed coordinator is still ending. The next server takes the port and the credential
//! of the last one where it can: workers that stayed reconnect by themselves.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use super::credential::Credential;
use super::locate::{self, LocateError};
use super::nats_server::{Launch, LaunchError, NatsServer, answers};

/// The user that an embedded server knows.
const USER: &str = "a3s";

/// Length of the generated password: 190 bits.
const PASSWORD_LENGTH: usize = 32;

/// How long two coordinators that start at once may need to agree whose server it is; longer
/// than a server with a large store takes to be ready.
const AGREED_WITHIN: Duration = Duration::from_secs(60);

/// How often a coordinator that lost the race looks for the server of the other.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `embedded.json` says. Readable by its owner only.
#[derive(Clone, Serialize, Deserialize)]
struct State {
    url: String,
    user: String,
    password: String,
    pid: u32,
    version: String,
}

/// Why there is no embedded server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmbeddedError {
    /// There is no usable nats-server binary.
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The server did not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The state directory cannot be used.
    #[error(
        "cannot use the state directory {path}: {source}; another one can be set with A3S_STATE_DIR"
    )]
    Directory {
        /// The file or directory in question.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds the store, and no server of it answers.
    #[error(
        "the store in {0} is held by another process whose server does not answer; stop that process, or set another A3S_STATE_DIR"
    )]
    Held(PathBuf),
}

/// An embedded server: this process's own, or one that it joined.
#[derive(Debug)]
pub struct Embedded {
    url: String,
    password: String,
    dir: PathBuf,
    /// The process and the lock, in this order: the server ends before the lock is released.
    ours: Option<(NatsServer, File)>,
}

impl Embedded {
    /// Starts the server of this directory, or joins the one that runs there already.
    ///
    /// # Errors
    /// [`EmbeddedError`]
    pub async fn start_or_join(dir: &Path) -> Result<Self, EmbeddedError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(at(dir))?;
        let lock = open_lock(dir).map_err(at(dir))?;
        let began = Instant::now();
        while began.elapsed() < AGREED_WITHIN {
            match lock.try_lock() {
                Ok(()) => return start(dir, lock).await,
                Err(TryLockError::Error(source)) => return Err(at(dir)(source)),
                Err(TryLockError::WouldBlock) => {}
            }
            if let Some(joined) = Self::join(dir).await {
                return Ok(joined);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(EmbeddedError::Held(dir.to_owned()))
    }

    /// Joins the server that runs in this directory; `None` when none does.
    pub async fn join(dir: &Path) -> Option<Self> {
        if !is_held(dir) {
            return None; // what the state file says is history; its port may be anybody's
        }
        let state = read_state(dir)?;
        let joined = Self {
            url: state.url,
            password: state.password,
            dir: dir.to_owned(),
            ours: None,
        };
        answers(&joined.url).await.then_some(joined)
    }

    /// Where it listens; always on loopback.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it asks of clients.
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential::from_user(USER.to_owned(), Some(self.password.clone()))
    }

    /// The directory that holds everything of it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where its store is.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// Whether this process started it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.ours.is_some()
    }

    /// Says, whatever the log level, that a server was started: it is a process that the user
    /// did not start, and its store stays behind.
    pub(super) fn announce(&self) {
        let store = self.store();
        eprintln!(
            "started nats-server on {} (store in {})",
            self.url,
            store.display()
        );
    }

    /// Stops the server if this process started it: SIGTERM, ten seconds of patience, SIGKILL.
    pub async fn stop(mut self) {
        if let Some((server, _lock)) = self.ours.take() {
            server.stop().await;
        }
    }
}

/// Starts the server. The lock is ours.
async fn start(dir: &Path, lock: File) -> Result<Embedded, EmbeddedError> {
    let binary = locate::locate()?;
    let last = read_state(dir);
    // Until the new server is ready nobody may take the old file for its description.
    let _ = std::fs::remove_file(dir.join("embedded.json"));
    let port = last.as_ref().and_then(|last| free_port(&last.url));
    let fresh = || Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LENGTH);
    let password = last.map_or_else(fresh, |last| last.password);

    let config = dir.join("nats-server.conf");
    write_private(&config, configuration(dir, port, &password).as_bytes()).map_err(at(&config))?;
    let server = NatsServer::launch(Launch {
        binary: binary.path,
        config,
        ports_dir: dir.join("ports"),
        log: dir.join("nats-server.log"),
        hold: Some(lock.try_clone().map_err(at(dir))?),
    });
    let server = server.await?;
    let state = State {
        url: server.url().to_owned(),
        user: USER.to_owned(),
        password,
        pid: server.pid(),
        version: binary.version.to_string(),
    };
    write_state(dir, &state).map_err(at(dir))?;
    Ok(Embedded {
        url: state.url,
        password: state.password,
        dir: dir.to_owned(),
        ours: Some((server, lock)),
    })
}

/// The server's configuration. Its own limits are explicit, so that a full disk is met by a
/// refused publish and not by a damaged store.
fn configuration(dir: &Path, port: Option<u16>, password: &str) -> String {
    let port = port.map_or_else(|| "-1".to_owned(), |port| port.to_string());
    let store = serde_json::Value::from(dir.join("store").to_string_lossy());
    format!(
        r#"# Written at each start of the embedded server: changes are lost. See nats.conf.
listen: "127.0.0.1:{port}"
server_name: "a3s-embedded"
authorization {{ user: {USER}, password: "{password}" }}
max_payload: 1MB
jetstream {{
  store_dir: {store}
  max_memory_store: 256MB
  max_file_store: 32GB
  # sync_interval: always   # default 2m: a power cut can lose what came since; see nats.conf
}}
"#
    )
}

/// The port of `url`, when nobody else has taken it meanwhile.
fn free_port(url: &str) -> Option<u16> {
    let port = url.rsplit_once(':')?.1.parse().ok()?;
    std::net::TcpListener::bind(("127.0.0.1", port))
        .ok()
        .map(|_| port)
}

fn open_lock(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(dir.join("lock"))
}

/// Whether a coordinator or its server holds the directory.
fn is_held(dir: &Path) -> bool {
    let lock = File::open(dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn read_state(dir: &Path) -> Option<State> {
    serde_json::from_slice(&std::fs::read(dir.join("embedded.json")).ok()?).ok()
}

/// Replaces the file in one step: a reader sees all of it or nothing.
fn write_state(dir: &Path, state: &State) -> io::Result<()> {
    let next = dir.join("embedded.json.next");
    write_private(&next, &serde_json::to_vec_pretty(state)?)?;
    std::fs::rename(next, dir.join("embedded.json"))
}

/// Writes a file that only its owner may read. It is made anew: an existing one might be open
/// to others, and `mode` would not change that.
fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.create_new(true).write(true).mode(0o600);
    options.open(path)?.write_all(content)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> EmbeddedError + use<> {
    let path = path.to_owned();
    move |source| EmbeddedError::Directory { path, source }
}
