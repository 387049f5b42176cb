//! One task to its end, or to the user's wish that it ends.

use std::time::Duration;

use a3s_coordinator::{Session, Task, TaskError};
use a3s_shared::broker::SubmitError;
use a3s_shared::protocol::{SessionLane, TaskResult};
use tokio_util::sync::CancellationToken;

/// How long a cancelled task may take to say so. Its worker needs less than a second; a task that
/// nobody took is answered by the session.
const CANCEL_GRACE: Duration = Duration::from_secs(3);

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum NoResult {
    /// It was cancelled before it was accepted, or nobody confirmed the cancellation.
    Cancelled,
    /// It makes no sense: its payload is too large, its id is used.
    Refused(String),
    /// The broker could not be asked.
    Broker(String),
}

impl NoResult {
    /// A word for a table or a JSON line, as results have in `error_kind`.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Refused(_) => "invalid_input",
            Self::Broker(_) => "broker",
        }
    }

    /// The sentence.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Refused(text) | Self::Broker(text) => text,
        }
    }
}

/// Submits `task` and waits for its result. When `cancel` comes first, the task is cancelled at
/// the broker and on its worker.
pub(crate) async fn run(
    session: &Session,
    lane: SessionLane,
    task: Task,
    cancel: &CancellationToken,
) -> Result<TaskResult, NoResult> {
    let handle = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(NoResult::Cancelled),
        handle = session.submit(lane, task) => {
            handle.map_err(|e| NoResult::Refused(e.to_string()))?
        }
    };
    let id = handle.task_id().to_owned();
    let mut outcome = std::pin::pin!(handle.outcome());
    tokio::select! {
        result = &mut outcome => return result.map_err(|e| no_result(&e)),
        () = cancel.cancelled() => {}
    }
    let end = async {
        session.cancel(&id).await.ok();
        outcome.await
    };
    match tokio::time::timeout(CANCEL_GRACE, end).await {
        Ok(Ok(result)) => Ok(result),
        _ => Err(NoResult::Cancelled),
    }
}

fn no_result(error: &TaskError) -> NoResult {
    let text = error.to_string();
    match error {
        TaskError::Refused(SubmitError::Token(_) | SubmitError::ReservedPool(_)) => {
            NoResult::Refused(text)
        }
        _ => NoResult::Broker(text),
    }
}
