//! A task inside this process: what runs it, and how its end is told.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use a3s_shared::broker::{Accepted, Answer as StoredAnswer, PreparedTask, TaskOptions};
use a3s_shared::protocol::{
    ErrorKind, ExternalTask, ExternalTaskResult, Outcome, TaskHandlerMode, TaskResult, clock,
};
use futures::StreamExt;
use futures::channel::{mpsc, oneshot};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::core::Core;
use crate::command::SessionCommand;
use crate::handle::Answer;

/// Who ran a task that no worker ran.
pub(super) const HERE: &str = "coordinator";

/// A callback that handles external tasks in this process.
pub(super) type ExternalHandler = Arc<
    dyn Fn(ExternalTask) -> Pin<Box<dyn Future<Output = ExternalTaskResult> + Send>> + Send + Sync,
>;

/// Who handles a task; fixed when it is submitted.
#[derive(Clone)]
pub(super) enum How {
    /// This process, and nobody else is told.
    Internal,
    /// This process, and the world is told.
    Hybrid,
    /// A callback of this process.
    Callback(ExternalHandler),
    /// A worker; or the host, once it has asked for tasks.
    External,
}

impl How {
    /// What a lane's mode means while `handler` is set.
    pub(super) fn of(mode: TaskHandlerMode, handler: Option<&ExternalHandler>) -> Self {
        match (mode, handler) {
            (TaskHandlerMode::Internal, _) => Self::Internal,
            (TaskHandlerMode::Hybrid, _) => Self::Hybrid,
            (TaskHandlerMode::External, Some(handler)) => Self::Callback(Arc::clone(handler)),
            (TaskHandlerMode::External, None) => Self::External,
        }
    }
}

/// How many signals a task may have before it looks at them. What is beyond it is dropped: among
/// so many there is a cancel, or the wish to look for a result, which finds what was dropped.
pub(super) const SIGNALS_KEPT: usize = 16;

/// Something that a task hears of while it waits or runs.
#[derive(Debug)]
pub(super) enum Signal {
    /// It has this result.
    Result(Box<StoredAnswer>),
    /// The host has answered it.
    Answer(Box<ExternalTaskResult>),
    /// It must end.
    Cancel(String),
    /// It may have a result that was not told: look.
    Look,
}

/// A task inside this process.
pub(super) struct Job {
    pub(super) task: ExternalTask,
    pub(super) command: Arc<dyn SessionCommand>,
    pub(super) how: How,
    pub(super) options: TaskOptions,
    /// Whether the caller chose the id, so that there may be a result already.
    pub(super) named: bool,
    /// Which attempt this is, from 1.
    pub(super) attempt: u32,
    pub(super) submitted: Instant,
    pub(super) deadline: Instant,
    /// Whether it counts against its lane's cap.
    pub(super) holds_slot: bool,
    /// What it hears, once a future runs it.
    pub(super) signals: Option<mpsc::Receiver<Signal>>,
    /// Its message, if it can go to a worker without a future. Its payload is there then, and
    /// nowhere else.
    pub(super) prepared: Option<PreparedTask>,
    /// The broker's word that it has it.
    pub(super) accepted: Option<Accepted>,
    pub(super) answer: oneshot::Sender<Answer>,
    /// The session lives until it has an outcome, whoever else drops it.
    pub(super) _session: Arc<Core>,
    /// Its place among those that wait; given up when it starts.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl Job {
    /// The next thing that it is told; `None` when the session has forgotten it.
    pub(super) async fn hear(&mut self) -> Option<Signal> {
        match &mut self.signals {
            Some(signals) => signals.next().await,
            None => None,
        }
    }

    /// Has its payload again, if that went into a message.
    pub(super) fn restore_payload(&mut self) {
        if self.task.payload.is_null() {
            self.task.payload = self.command.payload();
        }
    }

    /// A result that this process gives it.
    pub(super) fn result(
        &self,
        kind: Option<ErrorKind>,
        error: Option<String>,
        result: serde_json::Value,
    ) -> TaskResult {
        TaskResult {
            task_id: self.task.task_id.clone(),
            session_id: self.task.session_id.clone(),
            lane: self.task.lane,
            command_type: self.task.command_type.clone(),
            success: error.is_none(),
            result,
            error,
            error_kind: kind,
            attempt: 0,
            worker_id: HERE.to_owned(),
            started_at_ms: clock::now_ms(),
            duration_ms: 0,
        }
    }

    /// The result of a task whose time is over; `where_` says what it was doing.
    pub(super) fn timed_out(&self, where_: &str) -> TaskResult {
        let error = format!("timed out after {} ms, {where_}", self.task.timeout_ms);
        self.result(
            Some(ErrorKind::TimedOut),
            Some(error),
            serde_json::json!({}),
        )
    }

    /// The result of a cancelled task.
    pub(super) fn cancelled(&self, reason: String) -> TaskResult {
        self.result(
            Some(ErrorKind::Cancelled),
            Some(reason),
            serde_json::json!({}),
        )
    }

    /// Resolves when the task must end before it is done, with the result that it then has.
    pub(super) async fn stopped(&mut self, where_: &str) -> TaskResult {
        let deadline = self.deadline;
        loop {
            tokio::select! {
                signal = self.hear() => match signal {
                    Some(Signal::Cancel(reason)) => return self.cancelled(reason),
                    Some(Signal::Result(stored)) => return stored.result,
                    Some(Signal::Answer(answer)) => return self.answered(Ok(*answer)),
                    Some(Signal::Look) => {}
                    // The session forgot it; its time still ends.
                    None => {
                        sleep_until(deadline).await;
                        return self.timed_out(where_);
                    }
                },
                () = sleep_until(deadline) => return self.timed_out(where_),
            }
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("task", &self.task)
            .finish_non_exhaustive()
    }
}

/// Whether a result means that the task did what it was asked.
pub(super) fn succeeded(result: &TaskResult) -> bool {
    result.outcome() == Outcome::Completed
}
