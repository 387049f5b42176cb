//! An installation as `a3s-coordinator init` makes it, with its server running.

use std::path::{Path, PathBuf};

use a3s_shared::runtime::locate::locate;
use a3s_shared::runtime::{ConnectOptions, Connection, Role, connect};
use a3s_testkit::{Process, ProcessBuilder, eventually};
use serde_json::Value;
use tempfile::TempDir;

use crate::BOUND;

/// The lease of tasks, in seconds: short, so that what a killed worker had is soon another's.
const ACK_WAIT: &str = "3";

/// A directory of keys, and the server that knows them.
pub(crate) struct Installation {
    dir: TempDir,
    server: Process,
    url: String,
    /// What workers see.
    workspace: TempDir,
}

impl Installation {
    /// Makes one with these options of `init`, and starts its server.
    pub(crate) async fn new(options: &[&str]) -> Self {
        Self::changed(options, "").await
    }

    /// As [`Installation::new`], without the lines of the configuration that hold `less`.
    pub(crate) async fn changed(options: &[&str], less: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let workspace = tempfile::tempdir().expect("a temporary directory");
        let mut init = Process::of("a3s-coordinator")
            .arg("init")
            .arg(dir.path())
            .args(["--listen", "127.0.0.1:-1"])
            .args(options)
            .start();
        let status = init.wait(BOUND).await;
        assert!(status.success(), "{}", init.stderr());
        if !less.is_empty() {
            let path = dir.path().join("nats.conf");
            let text = std::fs::read_to_string(&path).expect("the configuration");
            let kept = text.lines().filter(|line| !line.contains(less));
            let kept: Vec<&str> = kept.collect();
            std::fs::write(&path, kept.join("\n")).expect("it is written");
        }
        let (server, url) = start_server(dir.path(), "nats.conf").await;
        Self {
            dir,
            server,
            url,
            workspace,
        }
    }

    /// Creates the streams, as an operator does once with the key of the coordinator.
    pub(crate) async fn with_streams(self) -> Self {
        let mut workers = self
            .process("a3s-coordinator", "coordinator")
            .arg("workers")
            .start();
        let status = workers.wait(BOUND).await;
        assert!(status.success(), "{}", workers.stderr());
        self
    }

    /// Where the files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the server is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What workers see.
    pub(crate) fn workspace(&self) -> &Path {
        self.workspace.path()
    }

    /// A program with the settings of a role, as its file of environment variables has them.
    pub(crate) fn process(&self, program: &str, role: &str) -> ProcessBuilder {
        self.process_at(program, role, &self.url)
    }

    /// As [`Installation::process`], by another server.
    pub(crate) fn process_at(&self, program: &str, role: &str, url: &str) -> ProcessBuilder {
        let caches = self.dir().join("caches");
        let mut process = Process::of(program)
            .env("A3S_ACK_WAIT", ACK_WAIT)
            .env("XDG_CACHE_HOME", caches);
        for (name, value) in self.settings(role) {
            process = process.env(name, value);
        }
        process.env("NATS_URL", url)
    }

    /// The variables of a role.
    fn settings(&self, role: &str) -> Vec<(String, String)> {
        let path = self.dir().join(format!("{role}.env"));
        let text = std::fs::read_to_string(&path).expect("the role has its file");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// A worker of a role, ready for tasks.
    pub(crate) async fn worker(&self, role: &str) -> Process {
        let worker = self.worker_process(role).start();
        worker.wait_for("ready for tasks", BOUND).await;
        worker
    }

    /// A worker of a role, to be started.
    pub(crate) fn worker_process(&self, role: &str) -> ProcessBuilder {
        let worker = self.process("a3s-worker", role);
        worker
            .args(["-j", "2", "--workspace"])
            .arg(self.workspace())
    }

    /// What a verb of a role prints, and whether it succeeded.
    pub(crate) async fn run(&self, role: &str, arguments: &[&str]) -> (bool, String) {
        let mut process = self
            .process("a3s-coordinator", role)
            .args(arguments)
            .start();
        drop(process.stdin());
        let status = process.wait(BOUND).await;
        (status.success(), process.stdout() + &process.stderr())
    }

    /// As [`Installation::run`], of what must succeed without anything denied.
    pub(crate) async fn done(&self, role: &str, arguments: &[&str]) -> String {
        let (success, output) = self.run(role, arguments).await;
        assert!(success, "{role} {arguments:?}: {output}");
        assert!(
            !output.contains(" may not "),
            "{role} {arguments:?}: {output}"
        );
        output
    }

    /// A connection with the key of a role alone, as an intruder has it.
    pub(crate) async fn connection(&self, role: &str) -> Connection {
        let mut options = ConnectOptions::to(self.url.clone());
        for (name, value) in self.settings(role) {
            match name.as_str() {
                "NATS_NKEY" => options.nkey = Some(PathBuf::from(value)),
                "NATS_CA" => options.tls_ca = Some(PathBuf::from(value)),
                "NATS_CERT" => options.tls_cert = Some(PathBuf::from(value)),
                "NATS_KEY" => options.tls_key = Some(PathBuf::from(value)),
                _ => {}
            }
        }
        let connection = connect(&options, &Role::worker("a3s-e2e")).await;
        connection.unwrap_or_else(|error| panic!("{role}: {error}"))
    }

    /// The process id of the server, for those who want to see that it lives.
    pub(crate) fn is_up(&mut self) -> bool {
        self.server.is_running()
    }
}

/// Starts a server with a configuration in `dir`; where it listens.
pub(crate) async fn start_server(dir: &Path, config: &str) -> (Process, String) {
    let binary = locate().unwrap_or_else(|error| panic!("{error}"));
    let ports = dir.join(format!("ports-{config}"));
    std::fs::create_dir(&ports).expect("a directory");
    let server = Process::at(&binary.path)
        .args(["--config", config, "--ports_file_dir"])
        .arg(&ports)
        .current_dir(dir)
        .start();
    let url = eventually("the server listens", BOUND, async || {
        let file = std::fs::read_dir(&ports).map_err(|e| e.to_string())?.next();
        let file = file
            .ok_or_else(|| server.stderr())?
            .map_err(|e| e.to_string())?;
        let text = std::fs::read(file.path()).map_err(|e| e.to_string())?;
        let ports: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        let url = ports["nats"][0].as_str().map(str::to_owned);
        url.ok_or_else(|| ports.to_string())
    })
    .await;
    server.wait_for("Server is ready", BOUND).await;
    (server, url)
}
