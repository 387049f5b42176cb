//! Publishing tasks, and taking them back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::publish::{Outgoing, PubAck, PublishError};
use super::signatures::Unsigned;
use super::templates;
use super::{BLOB_THRESHOLD, Broker, BrokerError};
use crate::protocol::{
    Effect, Encoding, ExternalTask, InvalidToken, RetryPolicy, Route, TaskHeaders, WorkspaceRef,
    clock, headers, is_reserved_pool, validate_token,
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
    /// The tree that it needs. Default: the workspace that its worker was started in.
    pub workspace: Option<WorkspaceRef>,
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

impl Accepted {
    fn of(ack: PubAck, blob: Option<String>) -> Self {
        Self {
            stream: ack.stream,
            sequence: ack.sequence,
            duplicate: ack.duplicate,
            blob,
        }
    }
}

/// A task that is written, and not published yet.
#[derive(Debug)]
pub struct PreparedTask {
    task_id: String,
    deadline_ms: u64,
    outgoing: Outgoing,
    /// What is needed to sign it, until it is signed.
    unsigned: Option<Unsigned>,
    signature: Option<String>,
    /// The object that holds its body, once that was too large for the message.
    blob: Option<String>,
}

impl PreparedTask {
    /// Whether [`Broker::post`] can send it: it needs no signature, and fits into a message.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unsigned.is_none() && self.outgoing.body.len() <= BLOB_THRESHOLD
    }

    /// Its signature, once it has one; its result names it.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }
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
        let mut prepared = self.prepare(task, route, options)?;
        self.send(&mut prepared).await
    }

    /// Writes a task, so that [`Broker::send`] can publish it.
    ///
    /// # Errors
    /// When an id or a pool cannot be a part of a subject.
    pub fn prepare(
        &self,
        task: &ExternalTask,
        route: &Route,
        options: &TaskOptions,
    ) -> Result<PreparedTask, SubmitError> {
        check(task, route)?;
        let body = options.encoding.encode(task);
        let signed = self.signatures().key.is_some();
        let common = (options.effect, options.retry, options.encoding);
        let headers = TaskHeaders {
            // The duplicate window is the stream's: with the session, because an id that a caller
            // chose may be in use in another one.
            message_id: Some([&task.session_id, ".", &task.task_id].concat()),
            reply_to: Some(self.names().result(&task.session_id, &task.task_id)),
            deadline_ms: Some(task.deadline_ms),
            traceparent: options.traceparent.clone(),
            workspace: options.workspace.as_ref().map(ToString::to_string),
            // A signature is over all headers, so there they are written out.
            ..match signed {
                true => templates::of_tasks(common),
                false => TaskHeaders::default(),
            }
        };
        Ok(PreparedTask {
            task_id: task.task_id.clone(),
            deadline_ms: task.deadline_ms,
            outgoing: Outgoing {
                subject: self.names().task(&task.session_id, task.lane, route),
                common: match signed {
                    true => Arc::default(),
                    false => self.templates.of(common),
                },
                headers: headers.into_pairs(),
                body: body.into(),
                expected_last: None,
            },
            unsigned: signed.then(|| Unsigned {
                task_id: task.task_id.clone(),
                command_type: task.command_type.clone(),
            }),
            signature: None,
            blob: None,
        })
    }

    /// Signs a task that is written, if this process has a key. [`Broker::send`] does it where
    /// nobody did before.
    pub async fn sign(&self, task: &mut PreparedTask) {
        let Some(unsigned) = task.unsigned.take() else {
            return;
        };
        let Outgoing {
            subject,
            headers,
            body,
            ..
        } = &mut task.outgoing;
        let pair = self.signature_of_task(subject, headers, body, &unsigned);
        if let Some(pair) = pair.await {
            task.signature = Some(pair[1].1.clone());
            headers.extend(pair);
        }
    }

    /// Publishes a task, as [`Broker::submit`] does.
    ///
    /// # Errors
    /// As [`Broker::submit`].
    pub async fn send(&self, task: &mut PreparedTask) -> Result<Accepted, SubmitError> {
        if task.unsigned.is_some() {
            Box::pin(self.sign(task)).await;
        }
        let refused = |task: &PreparedTask, source| SubmitError::Refused {
            task_id: task.task_id.clone(),
            source,
        };
        if task.outgoing.body.len() > BLOB_THRESHOLD {
            let body = std::mem::take(&mut task.outgoing.body);
            let stored = Box::pin(self.put_in_time(body, &task.task_id, task.deadline_ms)).await;
            let name = stored.map_err(|source| refused(task, source))?;
            task.outgoing.headers.push((headers::BLOB, name.clone()));
            task.blob = Some(name);
        }
        loop {
            match self.publish(&task.outgoing).await {
                Ok(ack) => return Ok(Accepted::of(ack, task.blob.take())),
                // While a server restarts, its streams are away for a moment.
                Err(PublishError::Unknown { .. } | PublishError::NoStream(_))
                    if clock::now_ms() < task.deadline_ms =>
                {
                    sleep(REPEAT_AFTER).await;
                }
                Err(PublishError::Unknown { .. }) => {
                    let task_id = task.task_id.clone();
                    return Err(SubmitError::Unconfirmed { task_id });
                }
                Err(error) => return Err(refused(task, error.into())),
            }
        }
    }

    /// Publishes a task without waiting for it. `then` is called once, with the task's id and the
    /// broker's word; with `None` when there is none: it was not sent, refused, or nobody answered. It
    /// is nothing that [`Broker::submit`] would not find out, which may follow under the same id.
    /// `then` is called by who reads the broker's answers, so it must not take long.
    pub fn post(
        &self,
        task: PreparedTask,
        then: impl FnOnce(&str, Option<Accepted>) + Send + 'static,
    ) {
        let PreparedTask {
            task_id, outgoing, ..
        } = task;
        self.publish_then(outgoing, move |ack| {
            then(&task_id, ack.map(|ack| Accepted::of(ack, None)));
        });
    }

    /// Stores a large body; repeated until the deadline while the broker does not answer. Before
    /// the task itself is published nothing is accepted, so nothing is in doubt.
    async fn put_in_time(
        &self,
        body: Bytes,
        task_id: &str,
        deadline_ms: u64,
    ) -> Result<String, BrokerError> {
        loop {
            match self.put_blob(body.clone(), task_id).await {
                // While a server restarts, its streams are away for a moment.
                Err(error) if error.may_pass() && clock::now_ms() < deadline_ms => {
                    sleep(REPEAT_AFTER).await;
                }
                done => return done,
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
            Box::pin(self.remove_blob(blob)).await?;
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
