//! What every test stands on: a real nats-server, real workers, a coordinator, and agents whose
//! model follows a script. The agent's workspace and the workers' are different directories, so
//! that it can be seen who did something.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a3s_code_core::{Agent, AgentSession, PlanningMode, SessionOptions};
use a3s_code_fleet::{Fleet, FleetOptions};
use a3s_coordinator::Coordinator;
use a3s_shared::broker::Settings;
use a3s_shared::runtime::{Role, connect};
use a3s_testkit::{Process, Server, eventually};
use tempfile::TempDir;

use crate::model::{Model, Say};

/// How long anything may take on a machine that is busy with other things.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// The lease of a task: short, for tests that kill its worker.
const ACK_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Stage {
    pub(crate) model: Model,
    pub(crate) coordinator: Coordinator,
    /// What the workers see.
    pub(crate) there: TempDir,
    /// What the agent sees.
    pub(crate) here: TempDir,
    pub(crate) server: Server,
    agent: Agent,
}

impl Stage {
    /// A stage without workers; the model follows `script`.
    pub(crate) async fn new(script: impl Fn(&str, usize) -> Say + Send + Sync + 'static) -> Self {
        let model = Model::start(script);
        let server = Server::start().await;
        let connection = connect(&server.options(), &Role::worker("test")).await;
        let settings = Settings {
            ack_wait: ACK_WAIT,
            ..Settings::default()
        };
        let coordinator = Coordinator::start(connection.expect("connected"), settings).await;
        let agent = Agent::new(model.config()).await.expect("an agent");
        let dir = || tempfile::tempdir().expect("a directory");
        Self {
            model,
            coordinator: coordinator.expect("started"),
            there: dir(),
            here: dir(),
            server,
            agent,
        }
    }

    /// Starts a worker and waits until it is heard of.
    pub(crate) async fn worker(&self, id: &str, args: &[&str]) -> Process {
        let worker = worker_in(self.server.url(), self.there.path(), id, args);
        self.heard_of(id).await;
        worker
    }

    /// Waits until a worker is heard of.
    pub(crate) async fn heard_of(&self, id: &str) {
        eventually("a worker", SOON, || {
            let workers = self.coordinator.fleet().workers();
            let there = workers.iter().any(|worker| worker.worker_id == id);
            std::future::ready(
                there
                    .then_some(())
                    .ok_or(format!("{} others", workers.len())),
            )
        })
        .await;
    }

    /// A session of the agent on the fleet.
    pub(crate) async fn session(&self, options: &FleetOptions) -> (Arc<AgentSession>, Fleet) {
        self.session_with(options, SessionOptions::new()).await
    }

    /// As [`session`](Self::session), with options of the host's own.
    pub(crate) async fn session_with(
        &self,
        options: &FleetOptions,
        base: SessionOptions,
    ) -> (Arc<AgentSession>, Fleet) {
        let base = base.with_planning_mode(PlanningMode::Disabled);
        let (base, prepared) = options.prepare(base);
        let here = self.here.path().to_string_lossy();
        let session = self.agent.session_async(here, Some(base)).await;
        let session = Arc::new(session.expect("a session"));
        let fleet = Fleet::attach(&session, &self.coordinator, prepared).await;
        (session, fleet.expect("attached"))
    }

    /// Writes a file that workers see.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.there.path().join(name), content).expect("written");
    }

    /// Waits until a file that a worker writes is there, and not empty.
    pub(crate) async fn written(&self, name: &str) -> String {
        let path = self.there.path().join(name);
        eventually(name, SOON, || {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            std::future::ready(if text.is_empty() {
                Err("nothing yet")
            } else {
                Ok(text)
            })
        })
        .await
    }

    /// Writes a program that workers can have as a tool.
    pub(crate) fn program(&self, name: &str, script: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.here.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("made executable");
        path
    }
}

/// Starts a worker.
pub(crate) fn worker_in(url: &str, dir: &Path, id: &str, args: &[&str]) -> Process {
    Process::at(bin_dir().join("a3s-worker"))
        .env("NATS_URL", url)
        .args(["--worker-id", id, "--workspace"])
        .arg(dir)
        .args(args)
        .start()
}

/// Where the main workspace's programs are.
///
/// # Panics
/// When they are not built.
pub(crate) fn bin_dir() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug");
    let dir = std::env::var_os("A3S_BIN_DIR").map_or(built, PathBuf::from);
    assert!(
        dir.join("a3s-worker").is_file(),
        "no a3s-worker in {}: run `cargo xtask bridge`, or `cargo build -p a3s-worker` first",
        dir.display()
    );
    dir
}

/// Whether a process runs.
pub(crate) fn runs(pid: &str) -> bool {
    // A process that has ended and was not reaped yet does not run.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until a process has ended.
pub(crate) async fn gone(pid: &str) {
    eventually("the end of a process", SOON, || {
        std::future::ready(if runs(pid) { Err("it runs") } else { Ok(()) })
    })
    .await;
}
