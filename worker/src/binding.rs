//! Which consumers a worker pulls from, and that they exist.

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, TaskStream};
use a3s_shared::protocol::{Route, Serves, SessionLane, SessionRecord, SessionState, clock};
use async_nats::jetstream::consumer::{Info, pull};

use crate::config::WorkerConfig;
use crate::worker::WorkerError;

/// The consumers that a worker pulls from.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) stream: String,
    pub(crate) consumers: Vec<(SessionLane, String)>,
    /// How long the broker waits for a sign of life of a task.
    pub(crate) ack_wait: Duration,
    /// Whether the consumers have a cap on running tasks.
    pub(crate) capped: bool,
}

impl Binding {
    /// Finds the consumers that `config` means, and creates what is missing.
    pub(crate) async fn find(broker: &Broker, config: &WorkerConfig) -> Result<Self, WorkerError> {
        let which = match &config.serves {
            Serves::Pool(_) => TaskStream::Pool,
            Serves::Session(_) => TaskStream::Own,
        };
        let stream = broker.names().tasks(which);
        let name = |lane| match &config.serves {
            Serves::Pool(pool) => broker.names().pool_consumer(pool, lane),
            Serves::Session(session) => broker.names().own_consumer(session, lane),
        };
        let consumers: Vec<_> = config
            .lanes
            .iter()
            .map(|lane| (*lane, name(*lane)))
            .collect();
        // Looking before creating lets a worker without the right to create work all the same.
        let mut ack_wait = look(broker, &stream, &consumers).await;
        if let Serves::Session(session) = &config.serves {
            if ack_wait.is_none() {
                broker.ensure(&config.settings).await?;
            }
            claim_route(broker, session).await?;
        }
        if ack_wait.is_none() {
            create(broker, config).await?;
            ack_wait = look(broker, &stream, &consumers).await;
        }
        let missing = || BrokerError::Missing {
            what: "look for the consumers of this worker's lanes".to_owned(),
            name: stream.clone(),
        };
        Ok(Self {
            ack_wait: ack_wait.ok_or_else(missing)?,
            capped: which == TaskStream::Own,
            stream,
            consumers,
        })
    }
}

/// The shortest lease of the consumers; `None` when one is missing.
async fn look(
    broker: &Broker,
    stream: &str,
    consumers: &[(SessionLane, String)],
) -> Option<Duration> {
    let infos = consumers.iter().map(async |(_, name)| {
        let found = broker
            .jetstream()
            .get_consumer_from_stream::<pull::Config, _, _>(name, stream);
        let consumer = found.await.ok()?;
        let info: &Info = consumer.cached_info();
        Some(info.config.ack_wait)
    });
    let waits: Option<Vec<Duration>> = futures::future::join_all(infos).await.into_iter().collect();
    waits?.into_iter().min()
}

async fn create(broker: &Broker, config: &WorkerConfig) -> Result<(), BrokerError> {
    let drift = match &config.serves {
        Serves::Pool(pool) => {
            let mut drift = broker.ensure(&config.settings).await?;
            drift.extend(broker.ensure_pool(pool, &config.settings).await?);
            drift
        }
        Serves::Session(session) => {
            let caps = SessionLane::ALL.map(SessionLane::default_max_concurrency);
            broker.ensure_own(session, caps, &config.settings).await?
        }
    };
    for difference in drift {
        tracing::warn!(%difference, "the broker's set-up differs from this version's");
    }
    Ok(())
}

/// A session's route is written by whoever comes first: a worker that is started for a session
/// that nobody opened yet makes it one with workers of its own.
async fn claim_route(broker: &Broker, session: &str) -> Result<(), WorkerError> {
    let record = SessionRecord {
        session_id: session.to_owned(),
        route: Route::Own,
        state: SessionState::Open,
        lanes: std::collections::BTreeMap::new(),
        created_at_ms: clock::now_ms(),
        cancelled_before_ms: 0,
    };
    loop {
        match broker.session(session).await? {
            Some((found, _)) => {
                return match found.route {
                    Route::Own => Ok(()),
                    Route::Pool(pool) => Err(WorkerError::SessionOnPool {
                        session: session.to_owned(),
                        pool,
                    }),
                };
            }
            None => match broker.create_session(&record).await {
                Ok(_) => return Ok(()),
                Err(BrokerError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            },
        }
    }
}
