//! How far the consumers of the lanes have handed out tasks.
//!
//! A work queue keeps a task until it is acknowledged, and a consumer hands tasks out in the order
//! of their sequence. So a stored task at or before the last sequence that its consumer delivered
//! is with a worker (or waits for its next attempt), and one behind it was never delivered. This
//! tells the two apart without a message more on a task's way.

use std::collections::HashMap;

use a3s_shared::broker::{Broker, BrokerError, Seen, TaskAddress, TaskStream};
use a3s_shared::protocol::{Route, SessionLane};
use async_nats::jetstream::consumer;
use serde::Serialize;

/// Where an accepted task without a result is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Place {
    /// Stored, and never delivered.
    Queued,
    /// With a worker, or between two attempts.
    Running,
}

impl Place {
    /// The word for tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
        }
    }
}

/// The last delivered sequence of each consumer, asked for once. Make a new one to look again.
pub(crate) struct Frontier<'a> {
    broker: &'a Broker,
    delivered: HashMap<String, u64>,
}

impl<'a> Frontier<'a> {
    /// Knows nothing yet.
    pub(crate) fn new(broker: &'a Broker) -> Self {
        let delivered = HashMap::new();
        Self { broker, delivered }
    }

    /// The last sequence that was delivered to the workers of a task with this address.
    pub(crate) async fn of(&mut self, address: &TaskAddress) -> Result<u64, BrokerError> {
        let (stream, name) = consumer_of(self.broker, address);
        if let Some(known) = self.delivered.get(&name) {
            return Ok(*known);
        }
        let info = consumer_info(self.broker, stream, &name).await?;
        let delivered = info.map_or(0, |info| info.delivered.stream_sequence);
        self.delivered.insert(name, delivered);
        Ok(delivered)
    }

    /// Where the task of this address and sequence is.
    pub(crate) async fn place(
        &mut self,
        address: &TaskAddress,
        sequence: u64,
    ) -> Result<Place, BrokerError> {
        let delivered = self.of(address).await?;
        Ok(match sequence <= delivered {
            true => Place::Running,
            false => Place::Queued,
        })
    }
}

fn consumer_of(broker: &Broker, address: &TaskAddress) -> (TaskStream, String) {
    let names = broker.names();
    match &address.route {
        Route::Pool(pool) => (TaskStream::Pool, names.pool_consumer(pool, address.lane)),
        Route::Own => (
            TaskStream::Own,
            names.own_consumer(&address.session, address.lane),
        ),
    }
}

/// What the broker says of the consumer of a pool's lane; None when there is none.
pub(crate) async fn pool_lane(
    broker: &Broker,
    pool: &str,
    lane: SessionLane,
) -> Result<Option<consumer::Info>, BrokerError> {
    let name = broker.names().pool_consumer(pool, lane);
    consumer_info(broker, TaskStream::Pool, &name).await
}

async fn consumer_info(
    broker: &Broker,
    which: TaskStream,
    name: &str,
) -> Result<Option<consumer::Info>, BrokerError> {
    let stream = broker.names().tasks(which);
    match broker.consumer_info(&stream, name).await? {
        Seen::There(info) => Ok(Some(info)),
        Seen::Missing => Ok(None),
        Seen::Hidden(denied) => {
            let what = format!("look at consumer {name}");
            Err(BrokerError::Denied { what, denied })
        }
    }
}
