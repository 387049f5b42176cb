//! The door of a session: a command becomes a task that waits in its lane.

use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::TaskOptions;
use a3s_shared::protocol::{
    Effect, ExternalTask, RetryPolicy, Route, SessionLane, Token, clock, validate_token,
};
use futures::channel::mpsc;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout_at};

use super::core::Core;
use super::job::{How, Job, SIGNALS_KEPT};
use super::state::Outstanding;
use crate::command::SessionCommand;
use crate::error::SubmitError;
use crate::handle::TaskHandle;
use crate::metrics::Count;

/// How many tasks of a lane may wait in this process. What comes then waits outside, so that a
/// producer that is too fast is slowed down instead of filling the memory.
pub const MAX_WAITING: usize = 10_000;

impl Core {
    /// Takes a command.
    pub(super) async fn submit(
        self: &Arc<Self>,
        lane: SessionLane,
        command: Arc<dyn SessionCommand>,
    ) -> Result<TaskHandle, SubmitError> {
        let how = self.state.lock().how(lane);
        let timeout_ms = self.timeout_ms(lane, command.timeout_ms());
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

    /// From submit to result: what the command says, else the shorter of what its lane's handler
    /// and its lane say.
    fn timeout_ms(&self, lane: SessionLane, own: Option<u64>) -> u64 {
        let handler = self.state.lock().handlers[lane.index()].timeout_ms;
        let ceiling = self.plan.ceilings[lane.index()].unwrap_or(u64::MAX);
        own.unwrap_or(handler.min(ceiling))
    }

    /// Waits for room in the lane.
    async fn enter(
        &self,
        task: &ExternalTask,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, SubmitError> {
        let room = Arc::clone(&self.room[task.lane.index()]);
        match timeout_at(deadline, room.acquire_owned()).await {
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
        let (signals, heard) = mpsc::channel(SIGNALS_KEPT);
        let (answer, awaited) = oneshot::channel();
        let external = matches!(how, How::External | How::Callback(_));
        let entry = Outstanding {
            lane,
            external,
            published: false,
            deadline_ms: task.deadline_ms,
            submitted_ms: task.deadline_ms.saturating_sub(task.timeout_ms),
            ticket: None,
            signals,
        };
        // In an own lane the broker holds the line, over all workers and coordinators.
        let by_broker = matches!(how, How::External) && self.route == Route::Own;
        let told = !matches!(how, How::External);
        // Boxed: it is handed on many times.
        let job = Box::new(Job {
            options: self.options(lane, command.as_ref()),
            named: command.task_id().is_some(),
            task,
            command,
            how,
            attempt: 1,
            submitted,
            deadline,
            holds_slot: !by_broker,
            signals: heard,
            answer,
            room: Some(room),
        });
        let event = told.then(|| (self.submitted_event(&job), Self::scope(&job.how)));
        self.enqueue_new(job, entry)?;
        if let Some((event, scope)) = event {
            self.tell(event.kind, scope, || event.clone());
        }
        self.pump();
        Ok(TaskHandle {
            task_id,
            answer: awaited,
            core: Arc::clone(self),
        })
    }

    fn enqueue_new(&self, job: Box<Job>, entry: Outstanding) -> Result<(), SubmitError> {
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
        Ok(())
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
