//! A worker's life: it binds to its lanes, serves, drains, and says goodbye.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use a3s_shared::broker::{Broker, BrokerError, Signatures};
use a3s_shared::protocol::{
    InvalidToken, Presence, Serves, SessionLane, ToolInfo, clock, tool_digest,
};
use a3s_shared::runtime::{Connection, Shutdown, offset};
use tokio::sync::watch;
use tokio::time::{Duration, timeout};
use tokio_util::task::TaskTracker;

use crate::acks::Acks;
use crate::binding::Binding;
use crate::cancels::Cancels;
use crate::checkout::Checkouts;
use crate::config::{ConfigError, WorkerConfig};
use crate::executor::Executor;
use crate::presence::{self, Vitals};
use crate::progress::ProgressPump;
use crate::puller::Puller;
use crate::registry::Registry;
use crate::rights;
use crate::slots::Slots;
use crate::trust::Trust;
use crate::turn::Turn;
use crate::workspace::Workspace;

/// What is left to a stopped worker for its last words to the broker.
const FAREWELL: Duration = Duration::from_secs(5);

/// A worker that could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The prefix cannot be a part of a subject.
    #[error(transparent)]
    Prefix(#[from] InvalidToken),
    /// The broker is unreachable, or refused something that the worker needs.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The worker was started for a session whose tasks go to a pool.
    #[error(
        "session {session} sends its tasks to pool {pool}, not to workers of its own: start this \
         worker with --pool {pool}, or open the session with --own"
    )]
    SessionOnPool {
        /// The session.
        session: String,
        /// Its pool.
        pool: String,
    },
    /// The pool serves its workers in another way than this one asks for.
    #[error(
        "pool {pool} has the policy {found}, and this worker needs {wanted}: start it with \
         {option}, or change the pool for all its workers: \
         a3s-coordinator pool {pool} --policy {wanted}"
    )]
    PoolPolicy {
        /// The pool.
        pool: String,
        /// Its policy.
        found: &'static str,
        /// The one that the worker's options need.
        wanted: &'static str,
        /// What a worker says that fits the pool.
        option: &'static str,
    },
    /// The pool serves whoever asks first, and this worker could not change that.
    #[error(
        "pool {pool} is to have the policy {wanted}, and this worker could not set it ({source}); \
         somebody who may: a3s-coordinator pool {pool} --policy {wanted}"
    )]
    PolicyNotSet {
        /// The pool.
        pool: String,
        /// The one that the worker's options need.
        wanted: &'static str,
        /// What the broker said.
        source: BrokerError,
    },
    /// The connection was lost before the worker was ready.
    #[error("cannot listen for tasks: {0}")]
    Listen(#[from] async_nats::SubscribeError),
}

impl WorkerError {
    /// Whether the broker did not permit something that the worker needs.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Broker(error) if error.is_denied())
    }
}

/// A worker that is ready to pull.
pub struct Worker {
    broker: Broker,
    fixed: Presence,
    tools: BTreeMap<String, ToolInfo>,
    vitals: Vitals,
    executor: Arc<Executor>,
    puller: Puller,
    inbox: async_nats::Subscriber,
    events: tokio::sync::broadcast::Receiver<async_nats::Event>,
    drain: Duration,
    draining: watch::Sender<bool>,
    stop_now: watch::Sender<bool>,
    running: TaskTracker,
}

impl Worker {
    /// Makes a worker ready: what it needs on the broker exists, and it listens.
    ///
    /// # Errors
    /// [`WorkerError`], which says what to change.
    pub async fn start(
        connection: &Connection,
        config: WorkerConfig,
        registry: Registry,
    ) -> Result<Self, WorkerError> {
        config.check()?;
        let workspace = config.sandbox.workspace(&config.workspace);
        let workspace = workspace.map_err(|source| ConfigError::Workspace {
            path: config.workspace.clone(),
            source,
        })?;
        let tools = allowed_tools(&config, &registry)?;
        let client = connection.client.clone();
        let domain = connection.js_domain.as_deref();
        let denials = connection.denials();
        let broker = Broker::heeding(denials, client, domain, &connection.prefix)?;
        let broker = broker.with_signatures(Signatures {
            key: config.signing_key.clone(),
            trust: None,
        });
        let binding = Binding::find(&broker, &config).await?;
        rights::check(&broker, &config, &binding).await?;
        offset::measure_by(broker.client(), &binding.question(&broker)).await;

        let (draining, drain_seen) = watch::channel(false);
        let (stop_now, stop_seen) = watch::channel(false);
        let vitals = Vitals {
            slots: Slots::new(
                config.concurrency,
                config.lanes.contains(&SessionLane::Control),
            ),
            last_pull_ms: Arc::new(AtomicU64::new(0)),
            done: Arc::new(AtomicU64::new(0)),
            refused: Arc::new(AtomicU64::new(0)),
            draining: drain_seen,
        };
        let session = match &config.serves {
            Serves::Session(session) => Some(session.clone()),
            Serves::Pool(_) => None,
        };
        let mut infos = registry.infos();
        infos.retain(|name, _| tools.contains(name));
        let fixed = Presence {
            tool_digest: tool_digest(&infos),
            ..describe(&config, tools, &workspace)
        };
        let trust = config.trust.clone();
        let running = TaskTracker::new();
        let executor = Arc::new(Executor {
            cancels: Cancels::follow(&broker, session).await?,
            progress: ProgressPump::start(&broker),
            broker: broker.clone(),
            worker_id: config.worker_id.clone(),
            registry,
            workspace: Arc::new(workspace),
            sandbox: Arc::clone(&config.sandbox),
            checkouts: Checkouts::new(broker.clone(), config.cache_dir.clone(), config.cache_size)
                .allowing(config.sandbox.policy().paths.clone()),
            acks: Acks::new(broker.clone(), running.clone(), config.steps.clone()),
            ack_wait: binding.ack_wait,
            stop_now: stop_seen,
            done: Arc::clone(&vitals.done),
            steps: config.steps.clone(),
            trust: trust.map(|list| Trust::new(list, Arc::clone(&vitals.refused))),
        });
        let puller = Puller::new(
            Arc::clone(&executor),
            binding,
            vitals.slots.clone(),
            running.clone(),
            Arc::clone(&vitals.last_pull_ms),
        );
        let inbox = puller.listen().await?;
        let events = connection.events();
        let drain = config.drain;
        Ok(Self {
            broker,
            fixed,
            tools: infos,
            vitals,
            executor,
            puller,
            inbox,
            events,
            drain,
            draining,
            stop_now,
            running,
        })
    }

    /// The worker's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.executor.worker_id
    }

    /// Serves until `shutdown` asks to drain; then finishes what runs, within the drain time and
    /// until it is asked to stop now, gives back what it cannot finish, and says goodbye.
    pub async fn run(self, shutdown: Shutdown) {
        let broker = self.broker.clone();
        let heartbeats = tokio::spawn(presence::announce(
            broker.clone(),
            self.fixed.clone(),
            self.vitals.clone(),
        ));
        let service = tokio::spawn(presence::serve(
            broker.clone(),
            self.fixed.clone(),
            self.tools,
            self.vitals.clone(),
        ));

        self.puller
            .run(self.inbox, self.events, shutdown.draining())
            .await;

        self.draining.send_replace(true);
        self.running.close();
        tokio::select! {
            () = self.running.wait() => {}
            () = tokio::time::sleep(self.drain) => {}
            () = shutdown.now() => {}
        }
        self.stop_now.send_replace(true);
        if timeout(FAREWELL, self.running.wait()).await.is_err() {
            tracing::warn!("some tasks could not be given back; their leases end by themselves");
        }
        service.abort();
        heartbeats.abort();
        let _ = timeout(FAREWELL, broker.depart(&self.fixed.worker_id)).await;
        let _ = timeout(FAREWELL, broker.client().flush()).await;
    }
}

/// The tools that the policy allows.
fn allowed_tools(config: &WorkerConfig, registry: &Registry) -> Result<Vec<String>, ConfigError> {
    let policy = config.sandbox.policy();
    let known = registry.names();
    let unknown = policy.tools.iter().flatten().find(|t| !known.contains(*t));
    if let Some(tool) = unknown.cloned() {
        return Err(ConfigError::NoSuchTool { tool, known });
    }
    let allowed = known.into_iter().filter(|t| policy.allow_tool(t).is_ok());
    Ok(allowed.collect())
}

fn describe(config: &WorkerConfig, tools: Vec<String>, workspace: &Workspace) -> Presence {
    Presence {
        worker_id: config.worker_id.clone(),
        host: hostname::get()
            .map(|h| h.to_string_lossy().into_owned())
            .unwrap_or_default(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime: "rust".to_owned(),
        serves: config.serves.clone(),
        lanes: config.lanes.clone(),
        tools,
        tool_digest: None,
        slots: config.concurrency,
        busy: 0,
        done: 0,
        workspace: workspace.root().display().to_string(),
        labels: labels(config),
        sandbox: Some(config.sandbox.level().to_string()),
        started_at_ms: clock::now_ms(),
        last_pull_ms: 0,
        seen_at_ms: clock::now_ms(),
        draining: false,
        refused: 0,
    }
}

/// What its owner says of the worker, and what it was told of its turn.
fn labels(config: &WorkerConfig) -> BTreeMap<String, String> {
    let mut labels = config.labels.clone();
    match config.turn {
        Turn::Any => None,
        Turn::Distance(distance) => labels.insert("distance".to_owned(), distance.to_string()),
        Turn::HelpWhen(waiting) => labels.insert("help-when".to_owned(), waiting.to_string()),
    };
    labels
}
