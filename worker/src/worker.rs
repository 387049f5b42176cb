//! A worker's life: it binds to its lanes, serves, drains, and says goodbye.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::{InvalidToken, Presence, Serves, SessionLane, clock};
use a3s_shared::runtime::{Connection, Shutdown, offset};
use tokio::sync::watch;
use tokio::time::{Duration, timeout};
use tokio_util::task::TaskTracker;

use crate::binding::Binding;
use crate::cancels::Cancels;
use crate::config::{ConfigError, WorkerConfig};
use crate::executor::Executor;
use crate::presence::{self, Vitals};
use crate::progress::ProgressPump;
use crate::puller::Puller;
use crate::registry::Registry;
use crate::slots::Slots;
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
    /// The connection was lost before the worker was ready.
    #[error("cannot listen for tasks: {0}")]
    Listen(#[from] async_nats::SubscribeError),
}

/// A worker that is ready to pull.
pub struct Worker {
    broker: Broker,
    fixed: Presence,
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
        let workspace =
            Workspace::open(&config.workspace).map_err(|source| ConfigError::Workspace {
                path: config.workspace.clone(),
                source,
            })?;
        let client = connection.client.clone();
        let broker = Broker::new(client, connection.js_domain.as_deref(), &connection.prefix)?;
        let binding = Binding::find(&broker, &config).await?;
        let api = connection.js_api_prefix();
        offset::measure(broker.client(), &api, &binding.stream).await;

        let (draining, drain_seen) = watch::channel(false);
        let (stop_now, stop_seen) = watch::channel(false);
        let vitals = Vitals {
            slots: Slots::new(
                config.concurrency,
                config.lanes.contains(&SessionLane::Control),
            ),
            last_pull_ms: Arc::new(AtomicU64::new(0)),
            done: Arc::new(AtomicU64::new(0)),
            draining: drain_seen,
        };
        let session = match &config.serves {
            Serves::Session(session) => Some(session.clone()),
            Serves::Pool(_) => None,
        };
        let fixed = describe(&config, &registry, &workspace);
        let executor = Arc::new(Executor {
            cancels: Cancels::follow(&broker, session).await?,
            progress: ProgressPump::start(&broker),
            broker: broker.clone(),
            worker_id: config.worker_id.clone(),
            registry,
            workspace: Arc::new(workspace),
            ack_wait: binding.ack_wait,
            stop_now: stop_seen,
            done: Arc::clone(&vitals.done),
            steps: config.steps.clone(),
        });
        let running = TaskTracker::new();
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

fn describe(config: &WorkerConfig, registry: &Registry, workspace: &Workspace) -> Presence {
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
        tools: registry.names(),
        slots: config.concurrency,
        busy: 0,
        done: 0,
        workspace: workspace.root().display().to_string(),
        labels: config.labels.clone(),
        started_at_ms: clock::now_ms(),
        last_pull_ms: 0,
        seen_at_ms: clock::now_ms(),
        draining: false,
    }
}
