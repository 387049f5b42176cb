//! Publishing tasks, and taking them back.

use std::time::Duration;

use tokio::time::sleep;

use super::publish::{Outgoing, PublishError};
use super::{BLOB_THRESHOLD, Broker, BrokerError};
use crate::protocol::{
    Effect, Encoding, ExternalTask, InvalidToken, RetryPolicy, Route, TaskBody, TaskHeaders,
    is_reserved_pool, validate_token,
};

/// The wait before a publish that got no answer is repeated with the same id.
const REPEAT_AFTER: Duration = Duration::from_millis(250);

/// What a task's message says beside the task.
#[derive(Debug, Clone)]
pub struct TaskOptions {
    /// Whether it may be started again after a crash.
    pub effect: Effect,
    /// How often it may be tried.
    pub retry: RetryPolicy,
    /// How it and its result are written.
    pub encoding: Encoding,
    /// W3C trace context.
    pub traceparent: Option<String>,
}

/// The broker's word that it has a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The stream.
    pub stream: String,
    /// The task's sequence there.
    pub sequence: u64,
    /// Whether it had the task before.
    pub duplicate: bool,
    /// The object that holds the task's large body.
    pub blob: Option<String>,
}

/// A task that the broker did not accept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// A session id, task id or pool cannot be a part of a subject.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// `own` and the names of lanes have a meaning in subjects.
    #[error("invalid pool {0:?}: the word has a meaning of its own; choose another name")]
    ReservedPool(String),
    /// The broker said no: nothing was accepted.
    #[error("task {task_id} was not accepted: {source}")]
    Refused {
        /// The task.
        task_id: String,
        /// Why.
        #[source]
        source: BrokerError,
    },
    /// The broker did not answer until the task's deadline: nobody knows whether it was accepted.
    #[error("task {task_id}: the broker did not say whether it accepted it until its deadline")]
    Unconfirmed {
        /// The task.
        task_id: String,
    },
}

impl Broker {
    /// Publishes a task. It is accepted when this returns, never earlier. A publish without an
    /// answer is repeated under the same id, which the broker stores once, until the deadline.
    ///
    /// # Errors
    /// [`SubmitError`]: only `Unconfirmed` leaves open whether it was accepted.
    pub async fn submit(
        &self,
        task: &ExternalTask,
        route: &Route,
        options: &TaskOptions,
    ) -> Result<Accepted, SubmitError> {
        check(task, route)?;
        let refused = |source: BrokerError| SubmitError::Refused {
            task_id: task.task_id.clone(),
            source,
        };
        let mut body = options.encoding.encode(&TaskBody::from(task));
        let blob = if body.len() > BLOB_THRESHOLD {
            let name = self.put_blob(&body, &task.task_id).await.map_err(refused)?;
            body.clear();
            Some(name)
        } else {
            None
        };
        let headers = TaskHeaders {
            // The duplicate window is the stream's: with the session, because an id that a caller
            // chose may be in use in another one.
            message_id: Some(format!("{}.{}", task.session_id, task.task_id)),
            reply_to: Some(self.names().result(&task.session_id, &task.task_id)),
            deadline_ms: Some(task.deadline_ms),
            retry: Some(options.retry),
            effect: Some(options.effect),
            content_type: Some(options.encoding.content_type().to_owned()),
            traceparent: options.traceparent.clone(),
            blob: blob.clone(),
        };
        let outgoing = Outgoing {
            subject: self.names().task(&task.session_id, task.lane, route),
            headers: headers.pairs(),
            body: body.into(),
            expected_last: None,
        };
        self.publish_until_deadline(task, outgoing, blob).await
    }

    async fn publish_until_deadline(
        &self,
        task: &ExternalTask,
        outgoing: Outgoing,
        blob: Option<String>,
    ) -> Result<Accepted, SubmitError> {
        loop {
            match self.publish(outgoing.clone()).await {
                Ok(ack) => {
                    return Ok(Accepted {
                        stream: ack.stream,
                        sequence: ack.sequence,
                        duplicate: ack.duplicate,
                        blob,
                    });
                }
                // While a server restarts, its streams are away for a moment.
                Err(PublishError::Unknown { .. } | PublishError::NoStream(_))
                    if !task.is_timed_out() =>
                {
                    sleep(REPEAT_AFTER).await;
                }
                Err(PublishError::Unknown { .. }) => {
                    let task_id = task.task_id.clone();
                    return Err(SubmitError::Unconfirmed { task_id });
                }
                Err(error) => {
                    let task_id = task.task_id.clone();
                    let source = error.into();
                    return Err(SubmitError::Refused { task_id, source });
                }
            }
        }
    }

    /// Takes an accepted task back, so that it never starts; `false` when it was gone. The
    /// caller has settled it: whoever runs it now cannot change the outcome.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove_task(&self, accepted: &Accepted) -> Result<bool, BrokerError> {
        let removed = self.remove(&accepted.stream, accepted.sequence).await?;
        if let Some(blob) = &accepted.blob {
            self.remove_blob(blob).await?;
        }
        Ok(removed)
    }
}

fn check(task: &ExternalTask, route: &Route) -> Result<(), SubmitError> {
    validate_token("session id", &task.session_id)?;
    validate_token("task id", &task.task_id)?;
    if let Route::Pool(pool) = route {
        validate_token("pool", pool)?;
        if is_reserved_pool(pool) {
            return Err(SubmitError::ReservedPool(pool.clone()));
        }
    }
    Ok(())
}
