//! Running a task in this process: Internal and Hybrid commands, and the callback for external
//! tasks. A panic is a failure, and the deadline or a cancel ends the run.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::protocol::{
    ErrorKind, EventKind, ExternalTask, ExternalTaskResult, TaskResult, clock,
};
use futures::FutureExt;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::core::{Core, End};
use super::job::{HERE, How, Job, succeeded};
use crate::command::SessionCommand;

/// Runs one attempt.
pub(super) async fn run(core: &Arc<Core>, mut job: Box<Job>) -> (Box<Job>, End) {
    core.tell_attempt(&job, EventKind::Started, None, None);
    let (began, began_ms) = (Instant::now(), clock::now_ms());
    let work = execute(job.how.clone(), Arc::clone(&job.command), job.task.clone());
    let (mut result, stopped) = tokio::select! {
        biased;
        outcome = AssertUnwindSafe(work).catch_unwind() => (job.answered(outcome), false),
        result = job.stopped("while it ran") => (result, true),
    };
    result.attempt = job.attempt;
    result.started_at_ms = began_ms;
    result.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if stopped || succeeded(&result) {
        return (job, End::with(result));
    }
    match core.next_attempt_after(&job) {
        Some(delay) => again(core, job, delay, result).await,
        None => {
            core.bury(&job, &mut result).await;
            (job, End::with(result))
        }
    }
}

/// Waits for the next attempt, without a slot.
async fn again(
    core: &Arc<Core>,
    mut job: Box<Job>,
    delay: Duration,
    failed: TaskResult,
) -> (Box<Job>, End) {
    core.tell_attempt(&job, EventKind::Retry, failed.error, Some(delay));
    core.pause_slot(&job);
    tokio::select! {
        result = job.stopped("while it waited for another attempt") => (job, End::Idle(result)),
        () = sleep(delay) => {
            job.attempt += 1;
            (job, End::Again)
        }
    }
}

/// What runs, owned, so that the job can listen meanwhile.
async fn execute(
    how: How,
    command: Arc<dyn SessionCommand>,
    task: ExternalTask,
) -> ExternalTaskResult {
    if let How::Callback(handler) = how {
        return handler(task).await;
    }
    match command.execute().await {
        Ok(result) => ExternalTaskResult {
            success: true,
            result,
            ..Default::default()
        },
        Err(error) => ExternalTaskResult {
            error: Some(format!("{error:#}")),
            result: json!({}),
            ..Default::default()
        },
    }
}

impl Job {
    /// The result that a command's or a handler's answer is.
    pub(super) fn answered(
        &self,
        outcome: Result<ExternalTaskResult, Box<dyn Any + Send>>,
    ) -> TaskResult {
        match outcome {
            Ok(answer) => {
                let unsaid = || (!answer.success).then(|| "no reason given".to_owned());
                let error = answer
                    .error
                    .clone()
                    .or_else(unsaid)
                    .filter(|_| !answer.success);
                let mut result = self.result(None, error, answer.result);
                result.worker_id = answer.worker_id.unwrap_or_else(|| HERE.to_owned());
                result
            }
            Err(panic) => {
                let error = format!("the command panicked: {}", said(panic.as_ref()));
                self.result(Some(ErrorKind::Other), Some(error), json!({}))
            }
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

impl Core {
    /// The wait before a failed command is tried again here: only when the session's
    /// configuration says so, never by default, because it may have side effects.
    fn next_attempt_after(&self, job: &Job) -> Option<Duration> {
        let policy = self
            .plan
            .retry
            .filter(|_| !matches!(job.how, How::Callback(_)))?;
        let left = job.attempt < policy.max_attempts();
        let delay = || policy.delay_ms(job.attempt, rand::random());
        left.then(|| Duration::from_millis(delay()))
    }
}
