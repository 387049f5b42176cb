//! A fleet, attached to a session of an agent.

use std::sync::Arc;
use std::time::Duration;

use a3s_code_core::queue::{LaneHandlerConfig, SessionLane, TaskHandlerMode};
use a3s_code_core::{AgentEvent, AgentSession, CodeError};
use a3s_coordinator::{Coordinator, MetricsSnapshot, Session, SessionQueueConfig};
use a3s_shared::protocol::{Token, validate_token};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::errand::{GRACE, Link};
use crate::hybrid::Hybrid;
use crate::lanes::LANES;
use crate::options::{FleetOptions, Prepared};
use crate::tally::{FleetStats, Report, Tally};
use crate::watch::watch;

/// Hexadecimal digits of a nonce.
const NONCE: usize = 10;

/// Why a fleet could not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The agent's session was built without a queue.
    #[error(
        "session {0} has no queue: build it with session_async and the options that \
         FleetOptions::prepare returns"
    )]
    NoQueue(String),
    /// The agent's session refuses: it is closed.
    #[error("the agent's session refuses the fleet: {0}")]
    Agent(#[from] CodeError),
    /// The coordinator's session could not be opened.
    #[error(transparent)]
    Coordinator(#[from] a3s_coordinator::Error),
}

/// A fleet that does the tool calls of an agent's session.
///
/// It detaches when it is closed or dropped, and when the agent's session is dropped: what runs is
/// cancelled, calls under way are answered, and all lanes are the agent's own again.
#[derive(Debug)]
#[must_use = "a fleet that is dropped detaches"]
pub struct Fleet {
    link: Arc<Link>,
    hybrid: Hybrid,
    stop: CancellationToken,
    /// Taken by `close`.
    watcher: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Lets workers do the tool calls of `agent`, in the lanes that `options` name.
    ///
    /// The agent's session is the one that was built with what
    /// [`FleetOptions::prepare`](crate::FleetOptions::prepare) returned beside `prepared`.
    ///
    /// # Errors
    /// [`AttachError`]: the session has no queue or is closed, or the broker refuses.
    pub async fn attach(
        agent: &Arc<AgentSession>,
        coordinator: &Coordinator,
        prepared: Prepared,
    ) -> Result<Self, AttachError> {
        if !agent.has_queue() {
            return Err(AttachError::NoQueue(agent.session_id().to_owned()));
        }
        let Prepared {
            options,
            handlers,
            places,
        } = prepared;
        let session = open(agent, coordinator, &options).await?;
        let hybrid = Hybrid::new(coordinator.broker().clone(), session.id(), handlers.clone());
        let link = Arc::new(Link {
            agent: Arc::downgrade(agent),
            workspace: agent.workspace().to_owned(),
            workers: coordinator.fleet().clone(),
            places,
            handlers,
            patience: options.patience,
            nonce: nonce(),
            tally: Tally::default(),
            wake: Notify::new(),
            session,
        });
        if let Err(error) = take_over(&link, agent, options).await {
            link.session.close().await;
            return Err(error.into());
        }
        let stop = CancellationToken::new();
        let watcher = tokio::spawn(serve(Arc::clone(&link), stop.clone()));
        Ok(Self {
            link,
            hybrid,
            stop,
            watcher: Some(watcher),
        })
    }

    /// Changes who handles the calls that come from now on, and how long they may take.
    ///
    /// # Errors
    /// When the agent's session is closed or gone.
    pub async fn set_lane_handler(
        &self,
        lane: SessionLane,
        handler: LaneHandlerConfig,
    ) -> Result<(), CodeError> {
        let Some(agent) = self.link.agent.upgrade() else {
            let session_id = self.session_id().to_owned();
            return Err(CodeError::SessionClosed { session_id });
        };
        handle(&self.link, &agent, lane, handler).await
    }

    /// Takes note of an event of the agent's stream. Calls are found without it, within 20 ms;
    /// with it at once, and calls of Hybrid lanes are told to the fleet's listeners.
    pub fn observe(&self, event: &AgentEvent) {
        if matches!(event, AgentEvent::ExternalTaskPending { .. }) {
            self.link.wake.notify_one();
        }
        self.hybrid.hear(event);
    }

    /// The session's id at the broker.
    #[must_use]
    pub fn session_id(&self) -> &str {
        self.link.session.id()
    }

    /// What was done so far.
    #[must_use]
    pub fn stats(&self) -> FleetStats {
        self.link.tally.stats()
    }

    /// The end of each task from now on. A listener that lags behind by more than 1,024 reports
    /// misses some.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Report> {
        self.link.tally.subscribe()
    }

    /// The metrics of the coordinator's session.
    pub async fn metrics(&self) -> Option<MetricsSnapshot> {
        self.link.session.queue_metrics().await
    }

    /// Why calls of `lane` would wait now: no worker takes them.
    #[must_use]
    pub fn unserved(&self, lane: SessionLane) -> Option<String> {
        self.link.session.unserved(crate::lanes::on_the_wire(lane))
    }

    /// Detaches: what runs is cancelled, calls under way are answered, and all lanes are the
    /// agent's own again. Takes some seconds at most.
    pub async fn close(mut self) {
        self.stop.cancel();
        if let Some(watcher) = self.watcher.take()
            && let Err(error) = watcher.await
        {
            tracing::warn!(%error, "the fleet broke off");
        }
    }
}

impl Drop for Fleet {
    /// As [`close`](Self::close), without waiting.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Shows the agent the workers' own tools, and takes over the lanes.
async fn take_over(
    link: &Link,
    agent: &AgentSession,
    options: FleetOptions,
) -> Result<(), CodeError> {
    for tool in options.tools {
        agent.register_dynamic_tool(Arc::new(tool))?;
    }
    for (lane, handler) in LANES.into_iter().zip(options.lanes) {
        handle(link, agent, lane, handler).await?;
    }
    Ok(())
}

/// Serves the agent until it is told to stop, and leaves all lanes to the agent's own process.
async fn serve(link: Arc<Link>, stop: CancellationToken) {
    watch(Arc::clone(&link), stop).await;
    if let Some(agent) = link.agent.upgrade() {
        for lane in LANES {
            // A closed session has no lanes to give back.
            let _ = handle(&link, &agent, lane, LaneHandlerConfig::default()).await;
        }
    }
    link.session.close().await;
}

/// Sets who handles a lane, in the agent's queue and for its gate.
async fn handle(
    link: &Link,
    agent: &AgentSession,
    lane: SessionLane,
    handler: LaneHandlerConfig,
) -> Result<(), CodeError> {
    link.handlers.set(lane, handler.clone());
    agent.set_lane_handler(lane, for_agent(handler)).await
}

/// The agent waits longer than a worker may work, so that the answer of a task that ran into its
/// deadline arrives, with what it printed.
fn for_agent(mut handler: LaneHandlerConfig) -> LaneHandlerConfig {
    if handler.mode == TaskHandlerMode::External {
        let grace = u64::try_from(GRACE.as_millis()).unwrap_or(u64::MAX);
        handler.timeout_ms = handler.timeout_ms.saturating_add(grace);
    }
    handler
}

async fn open(
    agent: &AgentSession,
    coordinator: &Coordinator,
    options: &FleetOptions,
) -> Result<Session, a3s_coordinator::Error> {
    let own = agent.session_id();
    let id = match &options.session_id {
        Some(id) => id.clone(),
        None if validate_token("session id", own).is_ok() => own.to_owned(),
        None => Token::unique().into(),
    };
    let config = SessionQueueConfig::default().with_external_lanes();
    let mut session = coordinator
        .session(id)
        .config(config.with_metrics())
        .encoding(options.encoding)
        // The agent's own lanes hold its line; the workers' slots are the only other limit.
        .follow_fleet(true)
        .close_grace(Duration::ZERO);
    if let Some(route) = &options.route {
        session = session.route(route.clone());
    }
    session.open().await
}

fn nonce() -> String {
    let id = Token::unique();
    let id = id.as_str();
    id[id.len().saturating_sub(NONCE)..].to_owned()
}
