//! A real nats-server for one test: own store, own port, gone on drop.

use std::path::Path;

use a3s_shared::runtime::ConnectOptions;
use a3s_shared::runtime::locate::locate;
use a3s_shared::runtime::nats_server::{Launch, NatsServer};
use async_nats::jetstream;
use rustix::process::Signal;
use tempfile::TempDir;

/// A nats-server with JetStream on a free loopback port. It dies with the test, even when the
/// test itself is killed.
#[derive(Debug)]
pub struct Server {
    process: Option<NatsServer>,
    url: String,
    config: String,
    dir: TempDir,
}

/// How a [`Server`] is to be.
#[derive(Debug, Default)]
pub struct ServerBuilder {
    config: String,
    without_jetstream: bool,
}

impl ServerBuilder {
    /// Adds lines to the configuration file, for instance `max_payload: 1KB` or an
    /// `authorization` block.
    #[must_use]
    pub fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// Leaves JetStream out, or to the added lines.
    #[must_use]
    pub fn without_jetstream(mut self) -> Self {
        self.without_jetstream = true;
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When there is no nats-server, or it does not start with this configuration.
    pub async fn start(self) -> Server {
        let dir = tempfile::Builder::new().prefix("a3s-test-").tempdir();
        let dir = dir.expect("a temporary directory");
        let mut config = self.config;
        if !self.without_jetstream {
            let store = dir.path().join("store");
            // Streams reserve their limits, and by default a server offers three quarters of what
            // the disk has left: a machine that has just built all this has little.
            config.push_str(&format!(
                "jetstream {{ store_dir: {store:?}, max_file_store: 256GB }}\n"
            ));
        }
        let url = String::new();
        let mut server = Server {
            process: None,
            url,
            config,
            dir,
        };
        server.start_again().await;
        server
    }
}

impl Server {
    /// Starts a server with JetStream and nothing special.
    ///
    /// # Panics
    /// When there is no nats-server; `cargo xtask nats` gets one.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with a configuration of its own.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Where clients connect; the same after every restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory of its store and its log, for what else a test needs to keep.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Options that connect to it.
    #[must_use]
    pub fn options(&self) -> ConnectOptions {
        ConnectOptions::to(self.url())
    }

    /// A client without credentials.
    ///
    /// # Panics
    /// When the server refuses it.
    pub async fn client(&self) -> async_nats::Client {
        let client = async_nats::connect(self.url()).await;
        client.unwrap_or_else(|error| panic!("no client on {}: {error}", self.url()))
    }

    /// JetStream on a new client without credentials.
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.client().await)
    }

    /// The process id.
    ///
    /// # Panics
    /// When it is not running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server is running").pid()
    }

    /// Stops it in order (SIGTERM) and starts it again on the same store and port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Stops it in order; [`Server::start_again`] brings it back.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop().await;
        }
    }

    /// Kills it with SIGKILL; [`Server::start_again`] brings it back.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn stop_process(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen one go on (SIGCONT).
    pub fn continue_process(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Has it send its clients away, as an operator does before a stop (SIGUSR2). It ends by itself.
    pub fn lame_duck(&mut self) {
        self.signal(Signal::USR2);
    }

    /// Starts a stopped or killed server on its store and port.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_again(&mut self) {
        let address = match self.url.split_once("://") {
            Some((_, address)) => address,
            None => "127.0.0.1:-1", // the first start: any free port
        };
        let path = self.dir.path().join("nats-server.conf");
        let text = format!("listen: \"{address}\"\n{}", self.config);
        std::fs::write(&path, text).expect("the configuration is written");
        let binary = locate().unwrap_or_else(|error| panic!("{error}"));
        let launch = Launch {
            binary: binary.path,
            config: path,
            ports_dir: self.dir.path().join("ports"),
            log: self.dir.path().join("nats-server.log"),
            hold: None,
        };
        let process = NatsServer::launch(launch).await;
        let process = process.unwrap_or_else(|error| panic!("{error}"));
        self.url = process.url().to_owned();
        self.process = Some(process);
    }

    fn signal(&mut self, signal: Signal) {
        self.process
            .as_mut()
            .expect("the server is running")
            .signal(signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill(); // its store goes too, so nothing is gained by a stop in order
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("nats-server.log"));
            eprintln!(
                "--- log of nats-server {} ---\n{}",
                self.url,
                log.unwrap_or_default()
            );
        }
    }
}
