//! What the submitter of a task holds: a future of its result.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use a3s_shared::protocol::TaskResult;
use futures::channel::oneshot;

use crate::error::{Error, TaskError};
use crate::session::Core;

/// What a task's end is told with.
pub(crate) type Answer = Result<TaskResult, TaskError>;

/// A submitted task. `.await` it for its result.
///
/// A result with `success: false` is a result: `Ok`, with what the tool produced and why it
/// failed, timed out or was cancelled. `Err` means that there is none. The wait is bounded by the
/// task's deadline and a few seconds.
///
/// Dropping it does not end the task: [`cancel`](Self::cancel) does.
pub struct TaskHandle {
    pub(crate) task_id: String,
    /// Not tokio's: of hundreds of handles that one task of the runtime waits for, those that its
    /// budget does not reach would be polled again and again (docs/performance.md).
    pub(crate) answer: oneshot::Receiver<Answer>,
    pub(crate) core: Arc<Core>,
}

impl TaskHandle {
    /// The task's id.
    #[must_use]
    pub fn task_id(&self) -> &str {
        &self.task_id
    }

    /// Waits for the result: the same as `.await`.
    ///
    /// # Errors
    /// [`TaskError`], when there is none.
    pub async fn outcome(self) -> Result<TaskResult, TaskError> {
        self.await
    }

    /// Asks that the task end, durably: one that waits or is queued never starts, one that runs
    /// is stopped and what it produced is in its result. `false` when it had ended before.
    ///
    /// # Errors
    /// When the broker does not confirm it.
    pub async fn cancel(&self) -> Result<bool, Error> {
        self.core
            .cancel(&self.task_id, "cancelled by its caller")
            .await
    }
}

impl Future for TaskHandle {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let answer = Pin::new(&mut self.answer).poll(cx);
        answer.map(|answer| {
            answer.unwrap_or_else(|_| {
                let task_id = self.task_id.clone();
                Err(TaskError::Abandoned { task_id })
            })
        })
    }
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskHandle")
            .field("task_id", &self.task_id)
            .finish_non_exhaustive()
    }
}
