//! The nats-server of a run: killed, frozen, and started again on the same store and port.

use std::path::{Path, PathBuf};

use a3s_shared::runtime::locate::locate;
use a3s_shared::runtime::nats_server::{Launch, NatsServer};
use anyhow::Result;
use rustix::process::Signal;

/// A server with a store of its own. Stopped on drop.
pub(crate) struct Server {
    dir: PathBuf,
    url: String,
    process: Option<NatsServer>,
}

impl Server {
    /// Starts a server on a free port, with its store in `dir`.
    ///
    /// # Errors
    /// When there is no nats-server, or it does not start.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut server = Self {
            dir: dir.to_owned(),
            url: String::new(),
            process: None,
        };
        server.start_again().await?;
        Ok(server)
    }

    /// Where clients connect; the same in all its lives.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it again after [`Server::kill`].
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        let any_port = "127.0.0.1:-1";
        let listen = self
            .url
            .split_once("://")
            .map_or(any_port, |(_, address)| address);
        let store = self.dir.join("store");
        let config = self.dir.join("nats-server.conf");
        // Streams set their limits aside; what a full run stores is a tenth of it.
        let text = format!(
            "listen: \"{listen}\"\njetstream {{ store_dir: {store:?}, max_file_store: 256GB }}\n"
        );
        std::fs::write(&config, text)?;
        let process = NatsServer::launch(Launch {
            binary: locate()?.path,
            config,
            ports_dir: self.dir.join("ports"),
            log: self.dir.join("nats-server.log"),
            hold: None,
        });
        let process = process.await?;
        self.url = process.url().to_owned();
        self.process = Some(process);
        Ok(())
    }

    /// Sends it a signal, if it runs.
    pub(crate) fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A frozen server does not hear that it is to stop.
        self.signal(Signal::CONT);
    }
}
