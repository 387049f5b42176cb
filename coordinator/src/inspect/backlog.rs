//! How many tasks are queued and running, by session and lane.

use a3s_shared::broker::{Broker, BrokerError, TaskStream};
use a3s_shared::protocol::{Route, SessionLane};
use futures::TryStreamExt;
use serde::Serialize;

use super::frontier::Frontier;

/// The tasks of a session in one lane that the broker has and that have not ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Backlog {
    /// The session.
    pub(crate) session: String,
    /// The lane.
    pub(crate) lane: SessionLane,
    /// Whose workers take them.
    pub(crate) route: Route,
    /// Stored and never delivered.
    pub(crate) queued: u64,
    /// With a worker, or between two attempts.
    pub(crate) running: u64,
}

/// The backlog of a session, or of all with `None`; lanes without a task are left out. Ordered by
/// session and priority. Reads as many messages as there are running tasks.
pub(crate) async fn backlog(
    broker: &Broker,
    session: Option<&str>,
) -> Result<Vec<Backlog>, BrokerError> {
    let mut frontier = Frontier::new(broker);
    let mut found = Vec::new();
    for which in [TaskStream::Pool, TaskStream::Own] {
        for (subject, stored) in counts(broker, which, session).await? {
            let Some(address) = broker.names().parse_task(&subject) else {
                continue;
            };
            let delivered = frontier.of(&address).await?;
            let running = count_until(broker, which, &subject, delivered).await?;
            found.push(Backlog {
                session: address.session,
                lane: address.lane,
                route: address.route,
                // The two were asked for one after the other.
                queued: stored.saturating_sub(running),
                running,
            });
        }
    }
    found.sort_by(|a, b| (&a.session, a.lane).cmp(&(&b.session, b.lane)));
    Ok(found)
}

/// How many tasks each subject of a stream has.
async fn counts(
    broker: &Broker,
    which: TaskStream,
    session: Option<&str>,
) -> Result<Vec<(String, u64)>, BrokerError> {
    let name = broker.names().tasks(which);
    let unreachable = |reason: String| BrokerError::Unreachable {
        what: format!("count the tasks of {name}"),
        reason,
    };
    let stream = broker.jetstream().get_stream_no_info(&name).await;
    let stream = stream.map_err(|e| unreachable(e.to_string()))?;
    let filter = broker.names().of_session(session.unwrap_or("*"));
    let counts = stream.info_with_subjects(filter).await;
    let counts = counts.map_err(|e| unreachable(e.to_string()))?;
    let counts: Result<Vec<(String, usize)>, _> = counts.try_collect().await;
    let counts = counts.map_err(|e| unreachable(e.to_string()))?;
    Ok(counts.into_iter().map(|(s, n)| (s, n as u64)).collect())
}

/// How many messages of `subject` are stored up to sequence `last`. Those are with workers, so
/// they are few.
async fn count_until(
    broker: &Broker,
    which: TaskStream,
    subject: &str,
    last: u64,
) -> Result<u64, BrokerError> {
    let stream = broker.names().tasks(which);
    let (mut count, mut from) = (0, 1);
    while from <= last {
        match broker.next(&stream, subject, from).await? {
            Some(message) if message.sequence <= last => {
                count += 1;
                from = message.sequence + 1;
            }
            _ => break,
        }
    }
    Ok(count)
}
