//! What can go wrong: starting and opening, submitting, and waiting for a result.

use a3s_shared::broker::BrokerError;
use a3s_shared::protocol::{InvalidToken, Route};
use a3s_shared::runtime::signing::SigningError;

use crate::config::ConfigError;

/// Why a coordinator or a session could not be started, or a question about it not be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An id or a prefix cannot be a part of a subject.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// The session's configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The broker refused or did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// A key or a list of trusted ones cannot be used.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// The session exists, and its tasks go elsewhere.
    #[error(
        "session {session} goes to {}, not to {}: use another session id, leave the route out, \
         or end that session first",
        place(.found), place(.wanted)
    )]
    OtherRoute {
        /// The session.
        session: String,
        /// Where this caller wants its tasks to go.
        wanted: Route,
        /// Where they go.
        found: Route,
    },
}

fn place(route: &Route) -> String {
    match route {
        Route::Pool(pool) => format!("pool {pool}"),
        Route::Own => "its own workers".to_owned(),
    }
}

/// Why a task was not taken. Nothing of it will ever run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The session is closed, or closing.
    #[error("session {session} is closed and takes no tasks")]
    Closed {
        /// The session.
        session: String,
    },
    /// The task's id cannot be a part of a subject.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// A task of this id has no result yet.
    #[error("task {task_id} is there already: wait for its result, or use another id")]
    DuplicateId {
        /// The task.
        task_id: String,
    },
    /// The task could never finish.
    #[error("timeout of a {command_type} task is 0 ms: use at least 1")]
    ZeroTimeout {
        /// The tool.
        command_type: String,
    },
    /// So many tasks wait in the lane that this one found no place before its time was over.
    #[error("lane {lane} is full: {waiting} tasks wait, and none started within {timeout_ms} ms")]
    Full {
        /// The lane's id.
        lane: &'static str,
        /// How many may wait.
        waiting: usize,
        /// The task's timeout.
        timeout_ms: u64,
    },
}

/// Why a submitted task has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The session was closed before the task started: it never will.
    #[error("task {task_id} did not start: session {session} was closed")]
    Closed {
        /// The task.
        task_id: String,
        /// The session.
        session: String,
    },
    /// The broker did not take the task: it never starts.
    #[error(transparent)]
    Refused(#[from] a3s_shared::broker::SubmitError),
    /// The broker did not answer when the task's time was over. It may have a result, now or
    /// later: ask [`Session::result`](crate::Session::result).
    #[error("task {task_id} has no known outcome: the broker did not answer at its deadline")]
    NoAnswer {
        /// The task.
        task_id: String,
    },
    /// The process ends, and the part of it that waits for results is gone.
    #[error("task {task_id} has no known outcome: nobody waits for it in this process any more")]
    Abandoned {
        /// The task.
        task_id: String,
    },
}
