//! How a session is opened.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use a3s_shared::protocol::{DEFAULT_POOL, Encoding, Route, validate_token};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore, watch};

use super::core::Core;
use super::reports::Reports;
use super::state::State;
use super::submit::MAX_WAITING;
use super::{Session, record};
use crate::config::{Plan, SessionQueueConfig};
use crate::coordinator::Hub;
use crate::error::Error;

/// How long tasks that run may go on when the session is closed.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// The cap of an own lane that follows the fleet: the workers' slots are the only limit.
const OPEN_CAP: usize = 1_000;

/// A session to be opened.
#[derive(Debug)]
#[must_use = "a session is opened by `open`"]
pub struct SessionBuilder {
    hub: Arc<Hub>,
    id: String,
    config: SessionQueueConfig,
    route: Option<Route>,
    encoding: Encoding,
    follow_fleet: bool,
    grace: Duration,
}

impl SessionBuilder {
    pub(crate) fn new(hub: Arc<Hub>, id: String) -> Self {
        Self {
            hub,
            id,
            config: SessionQueueConfig::default(),
            route: None,
            encoding: Encoding::default(),
            follow_fleet: false,
            grace: CLOSE_GRACE,
        }
    }

    /// How it queues, runs and reports. Default: everything runs in this process.
    pub fn config(mut self, config: SessionQueueConfig) -> Self {
        self.config = config;
        self
    }

    /// Where its external tasks go. Default: where its record says, else pool `default`.
    pub fn route(mut self, route: Route) -> Self {
        self.route = Some(route);
        self
    }

    /// How tasks and results are written. Default: MessagePack.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Whether the lanes' caps follow the slots of the workers that serve them, instead of the
    /// configuration: for one caller that wants the whole fleet. Default: false.
    pub fn follow_fleet(mut self, follow: bool) -> Self {
        self.follow_fleet = follow;
        self
    }

    /// How long tasks that run may go on when the session is closed. Default: 5 s.
    pub fn close_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Opens it. Results that are stored from now on arrive.
    ///
    /// # Errors
    /// When the id or the configuration makes no sense, the session goes elsewhere, or the broker
    /// refuses or does not answer.
    pub async fn open(self) -> Result<Session, Error> {
        validate_token("session id", &self.id)?;
        let plan = Plan::of(&self.config)?;
        let broker = &self.hub.broker;
        let opened = record::open(broker, &self.id, self.route.as_ref()).await?;
        self.ensure(&opened.record.route, &plan).await?;
        let feed = broker.subscribe_results(&self.id).await?;
        let core = self.core(opened.record.route.clone(), plan);
        core.follow_record(&opened.record, opened.revision);
        if opened.existed {
            core.inherit().await?;
        }
        core.listen_to_results(feed);
        core.hub.register(&core);
        core.follow(&core.hub.fleet.workers());
        Ok(Session { core })
    }

    /// Makes sure that the broker has the consumers of the route.
    async fn ensure(&self, route: &Route, plan: &Plan) -> Result<(), Error> {
        let (broker, settings) = (&self.hub.broker, &self.hub.settings);
        let drift = match route {
            Route::Pool(pool) if pool == DEFAULT_POOL => Vec::new(),
            Route::Pool(pool) => broker.ensure_pool(pool, settings).await?,
            Route::Own => {
                let caps = if self.follow_fleet {
                    [OPEN_CAP; 4]
                } else {
                    plan.caps
                };
                broker.ensure_own(&self.id, caps, settings).await?
            }
        };
        for drift in drift {
            tracing::warn!("{drift}");
        }
        Ok(())
    }

    fn core(self, route: Route, plan: Plan) -> Arc<Core> {
        Arc::new(Core {
            reports: Reports::new(self.hub.broker.clone()),
            state: Mutex::new(State::new(&plan)),
            id: self.id,
            route,
            encoding: self.encoding,
            plan,
            follow_fleet: self.follow_fleet,
            grace: self.grace,
            room: std::array::from_fn(|_| Arc::new(Semaphore::new(MAX_WAITING))),
            outstanding: watch::Sender::new(0),
            revision: AtomicU64::new(0),
            closed: OnceCell::new(),
            results: Mutex::new(None),
            workers: OnceCell::new(),
            hub: self.hub,
        })
    }
}
