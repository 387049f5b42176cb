//! A process that submits tasks: one connection, one view of the fleet, many sessions.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use a3s_shared::broker::{Broker, Fleet, Settings, Signatures};
use a3s_shared::runtime::signing::SigningError;
use a3s_shared::runtime::{Connection, offset};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use crate::alarms::Alarms;
use crate::cancels::follow_cancels;
use crate::error::Error;
use crate::janitor::{move_given_up, sweep_overdue};
use crate::records::follow_records;
use crate::session::{Core, SessionBuilder};

/// A process that submits tasks. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Coordinator {
    hub: Arc<Hub>,
}

/// What all sessions of a process share.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) broker: Broker,
    pub(crate) fleet: Fleet,
    pub(crate) settings: Settings,
    pub(crate) alarms: Alarms,
    /// By id (one may be opened more than once). Written when a session is opened, read by the
    /// loops; the dead are swept out on the way.
    sessions: Mutex<HashMap<String, Vec<Weak<Core>>>>,
    /// Taken by `close`.
    connection: Mutex<Option<Connection>>,
    /// Ends with the last clone, and with it the loops.
    loops: Mutex<JoinSet<()>>,
}

impl Coordinator {
    /// Makes sure that the broker has what it takes, and watches the fleet.
    ///
    /// Drift (streams that exist with other settings) is logged and left as it is.
    ///
    /// # Errors
    /// When the broker is unreachable, refuses, or holds the layout of a newer version.
    pub async fn start(connection: Connection, settings: Settings) -> Result<Self, Error> {
        Self::start_signed(connection, settings, Signatures::default()).await
    }

    /// As [`Coordinator::start`]; signs its tasks with the key of `signatures`, and believes only
    /// results that a key of its trust list signed.
    ///
    /// # Errors
    /// As [`Coordinator::start`]; and when there is a trust list without a key, because others could
    /// not believe what this process answers for workers that do not.
    pub async fn start_signed(
        connection: Connection,
        settings: Settings,
        signatures: Signatures,
    ) -> Result<Self, Error> {
        if signatures.trust.is_some() && signatures.key.is_none() {
            return Err(SigningError::NoKey.into());
        }
        let domain = connection.js_domain.as_deref();
        let (denials, client) = (connection.denials(), connection.client.clone());
        let broker = Broker::heeding(denials, client, domain, &connection.prefix)?;
        let broker = broker.with_signatures(signatures);
        for drift in broker.ensure(&settings).await? {
            tracing::warn!("{drift}");
        }
        let results = broker.names().results();
        offset::measure(&connection.client, &connection.js_api_prefix(), &results).await;
        let fleet = broker.watch_fleet().await?;
        let events = connection.events();
        let alarms = Alarms::default();
        let hub = Arc::new(Hub {
            broker,
            fleet: fleet.clone(),
            settings,
            alarms,
            sessions: Mutex::default(),
            connection: Mutex::new(Some(connection)),
            loops: Mutex::default(),
        });
        let mut loops = JoinSet::new();
        loops.spawn(hub.alarms.clone().ring());
        loops.spawn(follow_cancels(hub.broker.clone(), Arc::downgrade(&hub)));
        loops.spawn(move_given_up(hub.broker.clone()));
        loops.spawn(sweep_overdue(hub.broker.clone()));
        loops.spawn(follow_fleet(fleet, Arc::downgrade(&hub)));
        loops.spawn(catch_up(events, Arc::downgrade(&hub)));
        loops.spawn(follow_records(hub.broker.clone(), Arc::downgrade(&hub)));
        *hub.loops.lock() = loops;
        Ok(Self { hub })
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.hub.broker
    }

    /// The workers that are there.
    #[must_use]
    pub fn fleet(&self) -> &Fleet {
        &self.hub.fleet
    }

    /// A session, to be configured and opened. Its id is 1 to 64 letters, digits, `_` or `-`.
    pub fn session(&self, session_id: impl Into<String>) -> SessionBuilder {
        SessionBuilder::new(Arc::clone(&self.hub), session_id.into())
    }

    /// Closes all sessions, then the connection; an embedded server that this process started
    /// ends with it. Bounded as [`Session::close`](crate::Session::close) and
    /// [`Connection::close`] are.
    pub async fn close(&self) {
        let closing = self
            .hub
            .sessions()
            .into_iter()
            .map(|core| async move { core.close().await });
        futures::future::join_all(closing).await;
        // What has no outcome yet waits by itself from here on, and not for the loops.
        for core in self.hub.sessions() {
            core.look_for_results();
        }
        self.hub.loops.lock().abort_all();
        let connection = self.hub.connection.lock().take();
        if let Some(connection) = connection {
            connection.close().await;
        }
    }
}

impl Hub {
    /// Adds a session to those that the loops serve.
    pub(crate) fn register(&self, core: &Arc<Core>) {
        let mut sessions = self.sessions.lock();
        let same = sessions.entry(core.id().to_owned()).or_default();
        same.retain(|core| core.strong_count() > 0);
        same.push(Arc::downgrade(core));
    }

    /// The sessions that are there.
    pub(crate) fn sessions(&self) -> Vec<Arc<Core>> {
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, same| {
            same.retain(|core| core.strong_count() > 0);
            !same.is_empty()
        });
        sessions
            .values()
            .flatten()
            .filter_map(Weak::upgrade)
            .collect()
    }

    /// The sessions of this id that are there.
    pub(crate) fn sessions_of(&self, id: &str) -> Vec<Arc<Core>> {
        let sessions = self.sessions.lock();
        let same = sessions.get(id).into_iter().flatten();
        same.filter_map(Weak::upgrade).collect()
    }
}

/// Lets the caps of sessions that want it follow the slots of the workers that are there.
async fn follow_fleet(mut fleet: Fleet, hub: Weak<Hub>) {
    loop {
        fleet.changed().await;
        let Some(hub) = hub.upgrade() else { return };
        let workers = fleet.workers();
        for core in hub.sessions() {
            core.follow(&workers);
        }
    }
}

/// After a gap in the connection, lets every task that waits for a result look for it: what was
/// stored meanwhile was not told to us.
async fn catch_up(mut events: broadcast::Receiver<async_nats::Event>, hub: Weak<Hub>) {
    use async_nats::Event::{Connected, SlowConsumer};
    use broadcast::error::RecvError::{Closed, Lagged};
    loop {
        match events.recv().await {
            Ok(Connected | SlowConsumer(_)) | Err(Lagged(_)) => {}
            Ok(_) => continue,
            Err(Closed) => return,
        }
        let Some(hub) = hub.upgrade() else { return };
        for core in hub.sessions() {
            core.look_for_results();
        }
    }
}
