//! How many tasks of a session are at the broker.

use std::collections::HashMap;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures::future::try_join_all;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{Broker, BrokerError, TaskStream};
use crate::protocol::{Route, SessionLane};

/// The tasks of one lane of a session that are at the broker, whoever submitted them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Queued or running. A task that has just ended counts until its worker has acknowledged it.
    pub stored: usize,
    /// Those of them that workers have now. `None` in a pool: its consumers serve all sessions,
    /// and the broker does not say whose tasks are with the workers.
    pub running: Option<usize>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Error { error: Described },
    Info(T),
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    description: String,
}

#[derive(Deserialize)]
struct StreamInfo {
    state: StreamState,
}

#[derive(Deserialize)]
struct StreamState {
    #[serde(default)]
    subjects: HashMap<String, usize>,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    num_ack_pending: usize,
}

impl Broker {
    /// The backlog of a session by lane, highest priority first. One request for a pool, five at
    /// once for an own route.
    ///
    /// # Errors
    /// When the broker does not answer, or does not permit it.
    pub async fn backlog(&self, session: &str, route: &Route) -> Result<[Backlog; 4], BrokerError> {
        let (stored, running) =
            tokio::try_join!(self.stored(session, route), self.running(session, route))?;
        Ok(std::array::from_fn(|lane| Backlog {
            stored: stored[lane],
            running: running.as_ref().map(|running| running[lane]),
        }))
    }

    async fn stored(&self, session: &str, route: &Route) -> Result<[usize; 4], BrokerError> {
        let stream = self.names().tasks(TaskStream::of(route));
        let filter = self.names().session_tasks(session, route);
        let body = json!({ "subjects_filter": filter }).to_string();
        let call = format!("STREAM.INFO.{stream}");
        let info: StreamInfo = self.info(&call, body.into()).await?;
        Ok(SessionLane::ALL.map(|lane| {
            let subject = self.names().task(session, lane, route);
            info.state.subjects.get(&subject).copied().unwrap_or(0)
        }))
    }

    async fn running(
        &self,
        session: &str,
        route: &Route,
    ) -> Result<Option<Vec<usize>>, BrokerError> {
        if matches!(route, Route::Pool(_)) {
            return Ok(None);
        }
        let stream = self.names().tasks(TaskStream::Own);
        let lanes = SessionLane::ALL.map(|lane| {
            let consumer = self.names().own_consumer(session, lane);
            let call = format!("CONSUMER.INFO.{stream}.{consumer}");
            async move { self.info::<ConsumerInfo>(&call, Bytes::new()).await }
        });
        let lanes = try_join_all(lanes).await?;
        Ok(Some(
            lanes.iter().map(|info| info.num_ack_pending).collect(),
        ))
    }

    async fn info<T: DeserializeOwned>(&self, call: &str, body: Bytes) -> Result<T, BrokerError> {
        let answer = self
            .requests
            .ask(self.api_subject(call), HeaderMap::new(), body)
            .await;
        let answer = answer.map_err(|e| BrokerError::unanswered(call, e))?;
        match serde_json::from_slice(&answer.payload) {
            Ok(Answer::Info(info)) => Ok(info),
            Ok(Answer::Error { error }) => Err(BrokerError::refused(call, error.description)),
            Err(error) => Err(BrokerError::unreadable(call, error)),
        }
    }
}
