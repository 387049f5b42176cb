//! What every verb stands on: a connection, the coordinator, local workers, Ctrl-C.

use a3s_coordinator::Coordinator;
use a3s_shared::broker::{Settings, Signatures};
use a3s_shared::protocol::signature;
use a3s_shared::protocol::{DEFAULT_POOL, Serves};
use a3s_shared::runtime::signing::{SigningOptions, read_trust};
use a3s_shared::runtime::{self, ConnectOptions, Connection, LogOptions, Role, Shutdown};
use clap::Args;
use std::path::PathBuf;

use super::failure::Failure;
use super::local_workers::{LocalWorkerOptions, LocalWorkers};

/// The options that all verbs share.
#[derive(Debug, Clone, Args)]
pub(crate) struct Globals {
    #[command(flatten)]
    pub(crate) connect: ConnectOptions,
    #[command(flatten)]
    pub(crate) local: LocalWorkerOptions,
    #[command(flatten)]
    pub(crate) logs: LogOptions,
    #[command(flatten)]
    pub(crate) settings: Settings,
    #[command(flatten)]
    signing: SigningOptions,
    /// Believe only results that are signed by a key of this list with role = "worker"; needs a key
    #[arg(
        long,
        global = true,
        help_heading = "Signatures",
        value_name = "FILE",
        env = "A3S_TRUST_WORKERS"
    )]
    trust_workers: Option<PathBuf>,
}

/// The name of our connection, as the server lists it.
const NAME: &str = "a3s-coordinator";

impl Globals {
    /// The key that signs, and whose results are believed.
    pub(crate) fn signatures(&self) -> Result<Signatures, Failure> {
        let worker = signature::Role::Worker;
        let trust = self.trust_workers.as_deref();
        let trust = trust.map(|path| read_trust(path, worker)).transpose();
        Ok(Signatures {
            key: self
                .signing
                .key()
                .map_err(|e| Failure::usage(e.to_string()))?,
            trust: trust.map_err(|e| Failure::usage(e.to_string()))?,
        })
    }

    /// Connects; with `may_embed` an embedded server is started where there is no other.
    pub(crate) async fn connect(&self, may_embed: bool) -> Result<Connection, Failure> {
        let role = match may_embed {
            true => Role::coordinator(NAME),
            false => Role::worker(NAME),
        };
        runtime::connect(&self.connect, &role)
            .await
            .map_err(Failure::broker)
    }
}

/// A running coordinator.
pub(crate) struct App {
    /// The coordinator.
    pub(crate) coordinator: Coordinator,
    /// Ctrl-C and SIGTERM.
    pub(crate) shutdown: Shutdown,
    /// Where the server is, as one can say it to the user.
    pub(crate) place: String,
    workers: LocalWorkers,
}

impl App {
    /// Runs `work` with a coordinator and the local workers the options ask for, and ends all of
    /// it afterwards, whatever the work's outcome.
    pub(crate) async fn run(
        globals: &Globals,
        serves: &Serves,
        work: impl AsyncFnOnce(&Self) -> Result<u8, Failure>,
    ) -> Result<u8, Failure> {
        let mut app = Self::start(globals, serves).await?;
        let ready = app.workers.ready(app.coordinator.fleet()).await;
        let outcome = match ready {
            Ok(()) => work(&app).await,
            Err(failure) => Err(failure),
        };
        app.workers.stop().await;
        app.coordinator.close().await;
        outcome
    }

    /// As [`run`](Self::run), for verbs that submit nothing.
    pub(crate) async fn look(
        globals: &Globals,
        work: impl AsyncFnOnce(&Self) -> Result<u8, Failure>,
    ) -> Result<u8, Failure> {
        let serves = Serves::Pool(DEFAULT_POOL.to_owned());
        Self::run(globals, &serves, work).await
    }

    async fn start(globals: &Globals, serves: &Serves) -> Result<Self, Failure> {
        let shutdown = Shutdown::listen().map_err(Failure::broker)?;
        let signatures = globals.signatures()?;
        let connection = globals.connect(true).await?;
        let join = runtime::env_lines(&connection);
        let place = connection.server.to_string();
        let settings = globals.settings.clone();
        let started = Coordinator::start_signed(connection, settings, signatures).await;
        let coordinator = started.map_err(Failure::broker)?;
        let workers = LocalWorkers::start(&globals.local, &join, serves)?;
        Ok(Self {
            coordinator,
            shutdown,
            place,
            workers,
        })
    }
}
