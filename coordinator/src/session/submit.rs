//! The door of a session: a command becomes a task that waits in its lane.

use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::{PreparedTask, TaskOptions};
use a3s_shared::protocol::{
    Effect, ExternalTask, RetryPolicy, Route, SessionLane, Token, clock, validate_token,
};
use futures::channel::oneshot;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::core::Core;
use super::job::{How, Job};
use super::outstanding::{Listener, Outstanding};
use super::state::Due;
use crate::command::SessionCommand;
use crate::error::SubmitError;
use crate::handle::TaskHandle;
use crate::metrics::Count;

/// How many tasks of a lane may wait in this process. What comes then waits outside, so that a
/// producer that is too fast is slowed down instead of filling the memory.
pub const MAX_WAITING: usize = 10_000;

/// Bytes of a payload that are written where the task is submitted; more are written elsewhere.
const SMALL: usize = 64 * 1024;

/// What any value counts beside its text.
const NODE: usize = 16;

impl Core {
    /// Takes a command.
    pub(super) async fn submit(
        self: &Arc<Self>,
        lane: SessionLane,
        command: Arc<dyn SessionCommand>,
    ) -> Result<TaskHandle, SubmitError> {
        let (how, handler_ms) = {
            let state = self.state.lock();
            (state.how(lane), state.handlers[lane.index()].timeout_ms)
        };
        let ceiling = self.plan.ceilings[lane.index()].unwrap_or(u64::MAX);
        // What the command says, else the shorter of what its lane's handler and its lane say.
        let timeout_ms = command.timeout_ms().unwrap_or(handler_ms.min(ceiling));
        if timeout_ms == 0 {
            let command_type = command.command_type().to_owned();
            return Err(SubmitError::ZeroTimeout { command_type });
        }
        let task_id = match command.task_id() {
            Some(id) => validate_token("task id", id).map(|()| id.to_owned())?,
            None => Token::unique().into(),
        };
        let submitted = Instant::now();
        let task = ExternalTask {
            task_id,
            session_id: self.id.clone(),
            lane,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
            timeout_ms,
            deadline_ms: clock::now_ms().saturating_add(timeout_ms),
        };
        let deadline = submitted + Duration::from_millis(timeout_ms);
        let room = self.enter(&task, deadline).await?;
        self.admit(task, command, how, submitted, deadline, room)
    }

    /// Waits for room in the lane.
    async fn enter(
        &self,
        task: &ExternalTask,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, SubmitError> {
        let room = &self.room[task.lane.index()];
        // Nearly always there is some, and then it takes no timer.
        if let Ok(room) = Arc::clone(room).try_acquire_owned() {
            return Ok(room);
        }
        match timeout_at(deadline, Arc::clone(room).acquire_owned()).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(SubmitError::Closed {
                session: self.id.clone(),
            }),
            Err(_) => Err(SubmitError::Full {
                lane: task.lane.id(),
                waiting: MAX_WAITING,
                timeout_ms: task.timeout_ms,
            }),
        }
    }

    fn admit(
        self: &Arc<Self>,
        task: ExternalTask,
        command: Arc<dyn SessionCommand>,
        how: How,
        submitted: Instant,
        deadline: Instant,
        room: OwnedSemaphorePermit,
    ) -> Result<TaskHandle, SubmitError> {
        let (lane, task_id) = (task.lane, task.task_id.clone());
        let (answer, awaited) = oneshot::channel();
        let external = matches!(how, How::External | How::Callback(_));
        let entry = Outstanding {
            lane,
            external,
            published: false,
            deadline_ms: task.deadline_ms,
            submitted_ms: task.deadline_ms.saturating_sub(task.timeout_ms),
            ticket: None,
            listener: Listener::Nobody(Vec::new()),
        };
        // In an own lane the broker holds the line, over all workers and coordinators.
        let by_broker = matches!(how, How::External) && self.route == Route::Own;
        let told = !matches!(how, How::External);
        // Boxed: it is handed on many times.
        let mut job = Box::new(Job {
            options: self.options(lane, command.as_ref()),
            named: command.task_id().is_some(),
            task,
            command,
            how,
            attempt: 1,
            submitted,
            deadline,
            holds_slot: !by_broker,
            signals: None,
            prepared: None,
            accepted: None,
            answer,
            _session: Arc::clone(self),
            room: Some(room),
        });
        self.prepare(&mut job);
        let event = told.then(|| (self.submitted_event(&job), Self::scope(&job.how)));
        let due = self.enqueue_new(job, entry)?;
        if let Some((event, scope)) = event {
            self.tell(event.kind, scope, || event.clone());
        }
        self.perform(due);
        Ok(TaskHandle {
            task_id,
            answer: awaited,
            core: Arc::clone(self),
        })
    }

    /// Writes the message of a task that may go to a worker without a future that looks after it.
    fn prepare(&self, job: &mut Job) {
        let broker = &self.hub.broker;
        let signatures = broker.signatures();
        let plain = signatures.key.is_none() && signatures.trust.is_none();
        if !plain || job.named || !matches!(job.how, How::External) || !is_small(&job.task.payload)
        {
            return;
        }
        // What is wrong with it is told by who runs it.
        let prepared = broker.prepare(&job.task, &self.route, &job.options);
        job.prepared = prepared.ok().filter(PreparedTask::is_ready);
        if job.prepared.is_some() {
            job.task.payload = Value::Null;
        }
    }

    /// Puts a task at the end of its lane. What is to be done then.
    fn enqueue_new(&self, job: Box<Job>, entry: Outstanding) -> Result<Due, SubmitError> {
        let mut state = self.state.lock();
        let (lane, task_id) = (entry.lane, job.task.task_id.clone());
        if state.outstanding.contains_key(&task_id) {
            return Err(SubmitError::DuplicateId { task_id });
        }
        if state.scheduler.is_closed() {
            return Err(SubmitError::Closed {
                session: self.id.clone(),
            });
        }
        state.outstanding.insert(task_id, entry);
        // Not closed: it is taken.
        let _ = state.enqueue(job);
        if let Some(metrics) = &mut state.metrics {
            metrics.count(lane, Count::Submitted, 1);
        }
        self.note_outstanding(state.outstanding.len());
        Ok(state.due(Instant::now()))
    }

    fn options(&self, lane: SessionLane, command: &dyn SessionCommand) -> TaskOptions {
        let effect = command.effect().unwrap_or(lane.default_effect());
        let by_effect = || match effect {
            Effect::Idempotent => RetryPolicy::default(),
            Effect::Once => RetryPolicy::none(),
        };
        TaskOptions {
            effect,
            retry: command
                .retry()
                .or(self.plan.retry)
                .unwrap_or_else(by_effect),
            encoding: self.encoding,
            traceparent: None,
            workspace: command.workspace().cloned(),
        }
    }
}

/// Whether a payload is certainly small, after a short look: to write a large one takes long.
fn is_small(payload: &Value) -> bool {
    fn look(value: &Value, left: &mut usize) -> bool {
        let size = match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.len(),
            Value::Object(fields) => fields.keys().map(String::len).sum(),
            _ => 0,
        };
        let Some(rest) = left.checked_sub(size + NODE) else {
            return false;
        };
        *left = rest;
        match value {
            Value::Array(values) => values.iter().all(|value| look(value, left)),
            Value::Object(fields) => fields.values().all(|value| look(value, left)),
            _ => true,
        }
    }
    look(payload, &mut { SMALL })
}
