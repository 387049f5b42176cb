//! A real server, and the worker under test: started, frozen, killed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::{Broker, Settings};
use a3s_shared::protocol::{Encoding, Presence};
use a3s_testkit::{Process, Server};
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::wait::{bound, until};

/// The lease: short, so that a lost worker is noticed soon, and not the default, so that a worker
/// which believes in one of its own is found out.
pub const ACK_WAIT: Duration = Duration::from_secs(3);

/// A lease that outlasts every case.
const PATIENT: Duration = Duration::from_secs(3_000);

/// What the broker has before the first worker comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Everything, with leases of [`ACK_WAIT`].
    Ready,
    /// Everything, with leases that outlast the case: what a worker leaves behind stays behind.
    Patient,
    /// Nothing: the worker comes first.
    Empty,
    /// Everything; and a user `mute`, whose acknowledgements are thrown away.
    Mute,
}

/// The worker command, as it was typed.
#[derive(Debug, Clone)]
pub struct Command {
    /// The program and its arguments.
    pub words: Arc<[String]>,
    /// Whether it is a basic worker, which tells nobody when it is ready.
    pub basic: bool,
}

/// How a worker process is to be.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `A3S_CONCURRENCY`.
    pub concurrency: usize,
    /// `A3S_DRAIN`, in seconds.
    pub drain: u64,
    /// `A3S_LANES`.
    pub lanes: Option<&'static str>,
    /// `SESSION_ID`.
    pub session: Option<&'static str>,
    /// `NATS_URL`. Default: the server's.
    pub url: Option<String>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            concurrency: 2,
            drain: 30,
            lanes: None,
            session: None,
            url: None,
        }
    }
}

/// A worker process of a rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hand(usize);

/// A server with its streams, our own connection to it, and worker processes.
pub struct Rig {
    /// The server.
    pub server: Server,
    /// Our connection, and what the shared crate can do with it.
    pub broker: Broker,
    command: Command,
    workers: Vec<(String, Process)>,
    dir: TempDir,
}

/// Lets a user in whose acknowledgements the server refuses, and everybody else as they come.
const MUTE: &str = r#"
authorization {
  users: [
    { user: suite, password: suite }
    { user: mute, password: mute, permissions: { publish: { deny: ["$JS.ACK.>"] } } }
  ]
}
no_auth_user: suite
"#;

impl Rig {
    /// A new server, set up as `scene` says.
    ///
    /// # Errors
    /// When the streams cannot be created.
    pub async fn start(scene: Scene, command: Command) -> Result<Self> {
        let server = match scene {
            Scene::Mute => Server::builder().config(MUTE).start().await,
            _ => Server::start().await,
        };
        let broker = Broker::new(server.client().await, None, "a3s")?;
        let rig = Self {
            server,
            broker,
            command,
            workers: Vec::new(),
            dir: TempDir::new()?,
        };
        match scene {
            Scene::Ready | Scene::Mute => rig.ensure().await?,
            Scene::Patient => rig.ensure_with(PATIENT).await?,
            Scene::Empty => {}
        }
        Ok(rig)
    }

    /// Creates what is missing on the broker.
    ///
    /// # Errors
    /// When it cannot be created.
    pub async fn ensure(&self) -> Result<()> {
        self.ensure_with(ACK_WAIT).await
    }

    async fn ensure_with(&self, ack_wait: Duration) -> Result<()> {
        let settings = Settings {
            ack_wait,
            ..Settings::default()
        };
        self.broker.ensure(&settings).await?;
        Ok(())
    }

    /// The path of a file of this rig, for tools to write to.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A worker of the default setup that is ready for tasks.
    ///
    /// # Errors
    /// When it does not become ready.
    pub async fn worker(&mut self) -> Result<Hand> {
        self.worker_with(Setup::default()).await
    }

    /// A worker that is ready for tasks.
    ///
    /// # Errors
    /// When it ends before, or does not become ready.
    pub async fn worker_with(&mut self, setup: Setup) -> Result<Hand> {
        let hand = self.start_worker(setup);
        if self.command.basic {
            return Ok(hand);
        }
        let (id, _) = &self.workers[hand.0];
        let what = format!("the heartbeat of {id} in the bucket a3s_workers");
        let id = id.clone();
        let ready = until(&what, async || {
            self.heartbeat(&id).await?.context("it is not there")
        });
        ready.await?;
        Ok(hand)
    }

    /// A worker process, ready or not.
    pub fn start_worker(&mut self, setup: Setup) -> Hand {
        let id = format!("worker-{}", self.workers.len() + 1);
        let url = setup.url.unwrap_or_else(|| self.server.url().to_owned());
        let words = &self.command.words;
        let mut process = Process::at(PathBuf::from(&words[0]))
            .args(&words[1..])
            .env("NATS_URL", url)
            .env("A3S_WORKER_ID", &id)
            .env("A3S_CONCURRENCY", setup.concurrency.to_string())
            .env("A3S_DRAIN", setup.drain.to_string());
        if let Some(lanes) = setup.lanes {
            process = process.env("A3S_LANES", lanes);
        }
        process = match setup.session {
            Some(session) => process.env("SESSION_ID", session),
            None => process.env("A3S_POOL", "default"),
        };
        self.workers.push((id, process.start()));
        Hand(self.workers.len() - 1)
    }

    /// The id of a worker.
    #[must_use]
    pub fn id(&self, hand: Hand) -> &str {
        &self.workers[hand.0].0
    }

    /// The process of a worker, for signals.
    pub fn process(&mut self, hand: Hand) -> &mut Process {
        &mut self.workers[hand.0].1
    }

    /// Asks a worker to drain, waits for its end, and expects that it went well.
    ///
    /// # Errors
    /// When it exits with another code than 0.
    pub async fn drain(&mut self, hand: Hand) -> Result<()> {
        self.process(hand).terminate();
        self.drained(hand).await
    }

    /// Waits for the end of a worker that was asked to drain.
    ///
    /// # Errors
    /// When it exits with another code than 0.
    pub async fn drained(&mut self, hand: Hand) -> Result<()> {
        let status = self.process(hand).wait(bound()).await;
        ensure!(
            status.success(),
            "after SIGTERM it ended with {status}, not with 0"
        );
        Ok(())
    }

    /// A worker's heartbeat, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub async fn heartbeat(&self, id: &str) -> Result<Option<Presence>> {
        let subject = format!("$KV.a3s_workers.{id}");
        let Ok(found) = self.broker.last("KV_a3s_workers", &subject).await else {
            return Ok(None); // the bucket is not there yet
        };
        let found = found.filter(|m| m.header("KV-Operation").is_none() && !m.body.is_empty());
        let read = found.map(|m| Encoding::Json.decode(&m.body));
        read.transpose().context("the heartbeat cannot be read")
    }

    /// The end of what each worker printed, for the report of a failure.
    #[must_use]
    pub fn last_words(&self) -> String {
        let said = self.workers.iter().map(|(id, process)| {
            let stderr = process.stderr();
            let lines: Vec<_> = stderr.lines().rev().take(15).collect();
            let lines: Vec<_> = lines.into_iter().rev().collect();
            format!("--- stderr of {id}, its end ---\n{}\n", lines.join("\n"))
        });
        said.collect()
    }
}
