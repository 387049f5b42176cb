//! Where a run takes place: its server or somebody else's, a coordinator on a way that nobody
//! breaks, and the directory of its ledger.

use std::path::{Path, PathBuf};
use std::time::Duration;

use a3s_coordinator::Coordinator;
use a3s_shared::broker::Settings;
use a3s_shared::runtime::{self, ConnectOptions, Connection, Role};

use crate::chaos::ledger::RUN;
use crate::chaos::server::Server;
use crate::cli::app::Globals;
use crate::cli::failure::Failure;

/// The lease of tasks on a server of the run's own. Short, so that many are lost in a short run.
const ACK_WAIT: Duration = Duration::from_secs(3);

/// The server of a run and a coordinator that nobody hurts.
pub(super) struct Stand {
    /// The run's own server, to be broken.
    pub(super) server: Option<Server>,
    /// A coordinator for whoever watches.
    pub(super) coordinator: Coordinator,
    /// The environment that leads processes to the server.
    pub(super) join: Vec<(String, String)>,
    /// How long a lease lasts that nobody renews, where the run makes the consumers.
    pub(super) lease: Duration,
    /// The version of the nats-server.
    pub(super) version: String,
}

impl Stand {
    /// Uses the server that the options name, or starts one in `dir`.
    pub(super) async fn connect(globals: &Globals, dir: &Path) -> Result<Self, Failure> {
        let given = !globals.connect.nats_url.is_empty() || globals.connect.context.is_some();
        let (server, connection, settings) = match given {
            true => (
                None,
                globals.connect(false).await?,
                globals.settings.clone(),
            ),
            false => {
                let server = Server::start(&dir.join("nats")).await;
                let server = server.map_err(Failure::broker)?;
                let connection = connect(server.url()).await?;
                let settings = Settings {
                    ack_wait: ACK_WAIT,
                    ..globals.settings.clone()
                };
                (Some(server), connection, settings)
            }
        };
        let mut join = runtime::env_lines(&connection);
        let more = [
            ("A3S_ACK_WAIT", settings.ack_wait.as_secs_f64().to_string()),
            ("A3S_WAIT_FOR_SERVER", "true".to_owned()),
            (
                "RUST_LOG",
                std::env::var("RUST_LOG").unwrap_or("warn".to_owned()),
            ),
        ];
        join.extend(more.map(|(name, value)| (name.to_owned(), value)));
        let version = connection.client.server_info().version;
        let lease = settings.ack_wait;
        let coordinator = Coordinator::start(connection, settings)
            .await
            .map_err(Failure::broker)?;
        Ok(Self {
            server,
            coordinator,
            join,
            lease,
            version,
        })
    }
}

async fn connect(url: &str) -> Result<Connection, Failure> {
    runtime::connect(
        &ConnectOptions::to(url),
        &Role::worker("a3s-coordinator chaos"),
    )
    .await
    .map_err(Failure::broker)
}

/// The directory of a run: the user's, or one that goes unless there is something to be seen.
pub(super) struct Kept {
    /// Where it is.
    pub(super) path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Kept {
    /// The directory that is wanted, or a new one. It must not hold another run.
    pub(super) fn new(wanted: Option<&Path>) -> Result<Self, Failure> {
        let made = match wanted {
            Some(path) => std::fs::create_dir_all(path)
                .and_then(|()| path.canonicalize())
                .map(|path| (path, None)),
            None => tempfile::Builder::new()
                .prefix("a3s-chaos-")
                .tempdir()
                .map(|dir| (dir.path().to_owned(), Some(dir))),
        };
        let (path, temporary) = made.map_err(|e| Failure::output("the ledger", &e))?;
        if path.join(RUN).exists() {
            let text = format!(
                "{} has the ledger of another run: name a new one",
                path.display()
            );
            return Err(Failure::usage(text));
        }
        Ok(Self { path, temporary })
    }

    /// Keeps it: where it is.
    pub(super) fn keep(self) -> PathBuf {
        match self.temporary {
            Some(dir) => dir.keep(),
            None => self.path,
        }
    }
}
