//! What all connections of a door share: the session that their calls belong to, the tools that are
//! offered, and the bounds.

use std::sync::Arc;
use std::time::Duration;

use a3s_coordinator::{Coordinator, Session};
use a3s_shared::broker::{Broker, Fleet};
use a3s_shared::protocol::{Presence, SessionLane};
use a3s_shared::runtime::Shutdown;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::catalog::Catalog;
use super::http::{Http, HttpError};
use super::stdio;

/// What a door is told at its start.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How long a call waits for a worker that takes it.
    pub(crate) wait: Duration,
    /// From submit to result, where the call does not say.
    pub(crate) timeout: Duration,
    /// The most of a result that is put into a client's context, in bytes.
    pub(crate) max_output: usize,
    /// Offer only these tools.
    pub(crate) tools: Option<Vec<String>>,
}

/// A door for any number of clients.
#[derive(Debug)]
pub(crate) struct Door {
    pub(super) session: Session,
    pub(super) options: Options,
    pub(super) catalog: Catalog,
    /// Nobody is listening any more: calls are left to the broker.
    pub(super) leaving: CancellationToken,
    broker: Broker,
    fleet: Fleet,
    _follower: AbortOnDropHandle<()>,
}

impl Door {
    /// Opens a door to `session`. The tools of the workers that are there are known when this
    /// returns.
    pub(crate) async fn open(
        coordinator: &Coordinator,
        session: Session,
        options: Options,
    ) -> Arc<Self> {
        let (broker, fleet) = (coordinator.broker().clone(), coordinator.fleet().clone());
        let catalog = Catalog::new(session.clone(), options.tools.clone());
        catalog.refresh(&broker, &fleet.workers()).await;
        let follower = tokio::spawn(catalog.clone().follow(broker.clone(), fleet.clone()));
        Arc::new(Self {
            session,
            options,
            catalog,
            leaving: CancellationToken::new(),
            broker,
            fleet,
            _follower: AbortOnDropHandle::new(follower),
        })
    }

    /// Serves the one client at the other end of standard input and output, until it is gone or
    /// the process is asked to stop.
    pub(crate) async fn serve_stdio(self: &Arc<Self>, shutdown: &Shutdown) {
        stdio::serve(self, shutdown).await;
        self.leave().await;
    }

    /// Serves clients over HTTP until the process is asked to stop.
    ///
    /// # Errors
    /// When connections cannot be accepted.
    pub(crate) async fn serve_http(
        self: &Arc<Self>,
        http: Http,
        shutdown: &Shutdown,
    ) -> Result<(), HttpError> {
        let served = http.serve(self, shutdown).await;
        self.leave().await;
        served
    }

    /// What runs goes on at the broker and can be fetched later; the session stays open for it.
    async fn leave(&self) {
        self.leaving.cancel();
        self.session.leave().await;
    }

    /// The broker.
    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Waits until somebody is there who runs `tool` from `lane`, for as long as the options say.
    ///
    /// # Errors
    /// A sentence that says who is there, and what to start.
    pub(super) async fn worker_for(&self, tool: &str, lane: SessionLane) -> Result<(), String> {
        let until = Instant::now() + self.options.wait;
        let mut fleet = self.fleet.clone();
        loop {
            let Some(missing) = self.missing(tool, lane) else {
                return Ok(());
            };
            if timeout_at(until, fleet.changed()).await.is_err() {
                return Err(missing);
            }
        }
    }

    /// Why a call of `tool` would wait; `None` when somebody takes it.
    fn missing(&self, tool: &str, lane: SessionLane) -> Option<String> {
        if let Some(unserved) = self.session.unserved(lane) {
            return Some(unserved);
        }
        let takers = self.takers(lane, false);
        if takers.iter().any(|worker| has(worker, tool)) {
            return None;
        }
        let mut tools: Vec<&str> = takers.iter().flat_map(|w| &w.tools).map(|t| &**t).collect();
        tools.sort_unstable();
        tools.dedup();
        let (lane, tools) = (lane.id(), tools.join(", "));
        Some(format!(
            "no worker that serves lane {lane} has the tool {tool}; those that are there have {tools}"
        ))
    }

    /// Why a call that is under way will not end soon: nobody takes its lane any more, not even a
    /// worker that finishes what it has.
    pub(super) fn deserted(&self, lane: SessionLane) -> Option<String> {
        match self.takers(lane, true).is_empty() {
            true => self.session.unserved(lane),
            false => None,
        }
    }

    /// The workers that take calls of `lane`; those that drain, too, where that is wanted.
    fn takers(&self, lane: SessionLane, draining: bool) -> Vec<Presence> {
        let (session, route) = (self.session.id(), self.session.route());
        let mut workers = self.fleet.workers();
        for worker in &mut workers {
            worker.draining &= !draining;
        }
        workers.retain(|worker| worker.takes(session, route, lane));
        workers
    }
}

/// Whether a worker has a tool; one that names none may have any.
fn has(worker: &Presence, tool: &str) -> bool {
    worker.tools.is_empty() || worker.tools.iter().any(|name| name == tool)
}
