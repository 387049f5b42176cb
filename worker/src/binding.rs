//! Which consumers a worker pulls from, and that they exist.

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, PoolPolicy, Seen, TaskStream};
use a3s_shared::protocol::{Route, Serves, SessionLane, SessionRecord, SessionState, clock};

use crate::config::WorkerConfig;
use crate::pulls::Manner;
use crate::turn::Turn;
use crate::worker::WorkerError;

/// The consumers that a worker pulls from.
#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub(crate) stream: String,
    pub(crate) consumers: Vec<(SessionLane, String)>,
    /// How long the broker waits for a sign of life of a task.
    pub(crate) ack_wait: Duration,
    /// How they are asked.
    pub(crate) manner: Manner,
    /// What pulls say of this worker's turn; nothing on a session's own consumers.
    pub(crate) turn: Option<Turn>,
}

/// What the consumers of a worker's lanes are like.
#[derive(Debug, Clone)]
struct Found {
    /// The shortest lease.
    ack_wait: Duration,
    /// The policy of each lane.
    policies: Vec<PoolPolicy>,
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
        let mut found = look(broker, &stream, &consumers).await?;
        if let Serves::Session(session) = &config.serves {
            if found.is_none() {
                broker.ensure(&config.settings).await?;
            }
            claim_route(broker, session).await?;
        }
        if found.is_none() {
            create(broker, config).await?;
            found = look(broker, &stream, &consumers).await?;
        }
        let found = found.ok_or_else(|| BrokerError::Missing {
            what: "look for the consumers of this worker's lanes".to_owned(),
            name: stream.clone(),
        })?;
        let (manner, turn) = match &config.serves {
            Serves::Session(_) => (Manner::Capped, None),
            Serves::Pool(pool) => {
                let policy = agree(broker, pool, config.turn, &found.policies).await?;
                let near = policy == PoolPolicy::Near;
                let manner = if near {
                    Manner::Standing
                } else {
                    Manner::Shared
                };
                (manner, Some(config.turn))
            }
        };
        Ok(Self {
            ack_wait: found.ack_wait,
            manner,
            turn,
            stream,
            consumers,
        })
    }

    /// A question that the broker answers with its time, and that every worker may ask.
    pub(crate) fn question(&self, broker: &Broker) -> String {
        let consumer = self.consumers.first().map_or("", |(_, name)| name);
        broker.api_subject(&format!("CONSUMER.INFO.{}.{consumer}", self.stream))
    }
}

/// The pool's policy. A pool that serves whoever asks first takes the one that `turn` needs; any
/// other is for somebody to change who knows its other workers.
async fn agree(
    broker: &Broker,
    pool: &str,
    turn: Turn,
    found: &[PoolPolicy],
) -> Result<PoolPolicy, WorkerError> {
    let set = found.iter().copied().find(|p| *p != PoolPolicy::Any);
    let Some(wanted) = turn.policy() else {
        return Ok(set.unwrap_or_default());
    };
    if let Some(other) = found
        .iter()
        .copied()
        .find(|p| ![PoolPolicy::Any, wanted].contains(p))
    {
        return Err(WorkerError::PoolPolicy {
            pool: pool.to_owned(),
            found: other.id(),
            wanted: wanted.id(),
            option: Turn::option(other),
        });
    }
    if found.contains(&PoolPolicy::Any) {
        let changed = broker.set_pool_policy(pool, wanted).await;
        changed.map_err(|source| WorkerError::PolicyNotSet {
            pool: pool.to_owned(),
            wanted: wanted.id(),
            source,
        })?;
        tracing::info!(pool, policy = wanted.id(), "the pool's policy is set");
    }
    Ok(wanted)
}

/// What the consumers are like; `None` when one is missing. A lane that this worker's credential
/// does not serve is an error, here and not in the first pull.
async fn look(
    broker: &Broker,
    stream: &str,
    consumers: &[(SessionLane, String)],
) -> Result<Option<Found>, BrokerError> {
    let infos = consumers.iter().map(async |(lane, name)| {
        match broker.consumer_info(stream, name).await? {
            Seen::There(info) => {
                let policy = PoolPolicy::of(&info.config);
                Ok(Some((info.config.ack_wait, policy)))
            }
            Seen::Missing => Ok(None),
            Seen::Hidden(denied) => Err(BrokerError::Denied {
                what: format!("serve lane {} (--lanes names others)", lane.id()),
                denied,
            }),
        }
    });
    let found = futures::future::try_join_all(infos).await?;
    let found: Option<Vec<_>> = found.into_iter().collect();
    Ok(found.and_then(|found| {
        let (waits, policies): (Vec<Duration>, _) = found.into_iter().unzip();
        let ack_wait = waits.into_iter().min()?;
        Some(Found { ack_wait, policies })
    }))
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
