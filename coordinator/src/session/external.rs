//! Running a task on a worker: publish it, wait for its result, and settle it when none comes.
//!
//! The result arrives by the session's feed, fast. What a feed can miss (a reconnect, a restart
//! of the broker) is found by asking: on every reconnect, and every few seconds for a task that
//! takes long. When the deadline has passed and nobody has answered, this process answers itself.
//! The broker keeps the first result only, so whatever is stored is the outcome.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::{Accepted, Answer as StoredAnswer, BrokerError, Stored, SubmitError};
use a3s_shared::protocol::{ErrorKind, TaskResult};
use serde_json::{Value, json};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::core::{Core, End};
use super::job::{Job, Signal};
use crate::error::TaskError;
use crate::handle::Answer;

/// How long after a deadline a worker may still answer: it has to kill what ran, collect what
/// that printed, and publish.
pub(super) const DEADLINE_GRACE: Duration = Duration::from_secs(2);

/// How long a worker has to answer for a cancelled task.
const CANCEL_GRACE: Duration = Duration::from_secs(2);

/// How often a task that takes long is looked for.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long looking may take.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// How long settling may take before the task counts as unanswered.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// A task on its way to a worker and back.
struct Trip<'a> {
    core: &'a Core,
    job: &'a mut Job,
    /// Its message's signature, where there is a key; its result names it.
    signature: Option<String>,
    /// Whether its result was not believed: nobody has told the world of its end.
    disbelieved: bool,
    /// When this process answers itself, and with what.
    settle_at: Instant,
    cancelled: Option<String>,
    look_at: Instant,
    /// Rings at the earlier of the two. One timer a task, set once if nothing happens.
    alarm: Pin<Box<Sleep>>,
}

/// Publishes a task, unless the broker has it, and waits for its outcome.
pub(super) async fn run(core: &Arc<Core>, mut job: Box<Job>) -> (Box<Job>, End) {
    let now = Instant::now();
    let (settle_at, look_at) = (job.deadline + DEADLINE_GRACE, now + LOOK_EVERY);
    let mut trip = Trip {
        core,
        job: &mut job,
        signature: None,
        disbelieved: false,
        settle_at,
        cancelled: None,
        look_at,
        alarm: Box::pin(sleep_until(settle_at.min(look_at))),
    };
    let end = trip.travel().await;
    (job, end)
}

impl Trip<'_> {
    async fn travel(&mut self) -> End {
        let accepted = self.job.accepted.as_ref();
        let twice = accepted.is_some_and(|accepted| accepted.duplicate);
        // An id of the caller's own may have been here before a restart.
        if (self.job.named || twice)
            && let Some(result) = Box::pin(self.look()).await
        {
            return self.told(result);
        }
        if self.job.accepted.is_none()
            && let Some(end) = self.publish().await
        {
            return end;
        }
        self.wait().await
    }

    /// Publishes the task. An end, if there is one without waiting any longer.
    async fn publish(&mut self) -> Option<End> {
        let (broker, job) = (&self.core.hub.broker, &mut *self.job);
        job.restore_payload();
        let mut task = match broker.prepare(&job.task, &self.core.route, &job.options) {
            Ok(task) => task,
            Err(refused) => return Some(over(Err(TaskError::Refused(refused)))),
        };
        // It is in the message now, and nobody here reads it again.
        job.task.payload = Value::Null;
        if broker.signatures().key.is_some() {
            Box::pin(broker.sign(&mut task)).await;
            self.signature = task.signature().map(str::to_owned);
        }
        let publish = broker.send(&mut task);
        tokio::pin!(publish);
        loop {
            tokio::select! {
                biased;
                answer = &mut publish => return self.published(answer).await,
                signal = self.job.hear() => {
                    if let Some(result) = self.heard(signal).await {
                        return Some(self.told(result));
                    }
                }
                () = self.alarm.as_mut() => {
                    if self.is_over() {
                        return Some(Box::pin(self.settle()).await);
                    }
                    self.look_at = Instant::now() + LOOK_EVERY;
                    self.set_alarm();
                }
            }
        }
    }

    async fn published(&mut self, answer: Result<Accepted, SubmitError>) -> Option<End> {
        match answer {
            Ok(accepted) => {
                self.core.tell_submitted(self.job);
                let duplicate = accepted.duplicate;
                self.job.accepted = Some(accepted);
                if duplicate {
                    Box::pin(self.look()).await.map(|result| self.told(result))
                } else {
                    None
                }
            }
            // It may have been stored; the outcome is settled at the broker.
            Err(SubmitError::Unconfirmed { .. }) => None,
            Err(refused) => Some(over(Err(TaskError::Refused(refused)))),
        }
    }

    /// Waits for a result, however it comes.
    async fn wait(&mut self) -> End {
        loop {
            tokio::select! {
                biased;
                signal = self.job.hear() => {
                    if let Some(result) = self.heard(signal).await {
                        return self.told(result);
                    }
                }
                () = self.alarm.as_mut() => {
                    if self.is_over() {
                        return Box::pin(self.settle()).await;
                    }
                    if let Some(result) = Box::pin(self.look()).await {
                        return self.told(result);
                    }
                }
            }
        }
    }

    /// Takes note of a signal; a result, if it is one or leads to one.
    async fn heard(&mut self, signal: Option<Signal>) -> Option<TaskResult> {
        match signal {
            Some(Signal::Result(stored)) => return Some(self.believed(*stored)),
            Some(Signal::Look) => return Box::pin(self.look()).await,
            Some(Signal::Cancel(reason)) => {
                self.settle_at = self.settle_at.min(Instant::now() + CANCEL_GRACE);
                self.set_alarm();
                self.cancelled = Some(reason);
            }
            // Only the host answers this way, and it never has a task that was published.
            Some(Signal::Answer(_)) => {}
            // The session has forgotten the task; its time still ends.
            None => sleep_until(self.settle_at).await,
        }
        None
    }

    /// Whether this process has to answer itself.
    fn is_over(&self) -> bool {
        Instant::now() >= self.settle_at
    }

    fn set_alarm(&mut self) {
        self.alarm.as_mut().reset(self.settle_at.min(self.look_at));
    }

    /// Asks the broker for the result.
    async fn look(&mut self) -> Option<TaskResult> {
        self.look_at = Instant::now() + LOOK_EVERY;
        self.set_alarm();
        let task = &self.job.task;
        let stored = self.core.hub.broker.answer(&task.session_id, &task.task_id);
        let stored = timeout(LOOK_WITHIN, stored).await.ok()?.ok()?;
        stored.map(|stored| self.believed(stored))
    }

    /// What the caller is told of a stored result: the result; or, where results are checked and it
    /// is not believed, that. Under an id of the caller's own an earlier task may have been
    /// answered, and that counts as always.
    fn believed(&mut self, stored: StoredAnswer) -> TaskResult {
        let broker = &self.core.hub.broker;
        let checked = broker.signatures().trust.is_some() && !stored.refused && !self.job.named;
        let stored = match checked && stored.answers != self.signature {
            true => broker.not_its_answer(stored),
            false => stored,
        };
        if !stored.refused {
            return stored.result;
        }
        self.disbelieved = true;
        self.core.note_refused(self.job.task.lane);
        let error = stored.result.error;
        self.job.result(Some(ErrorKind::Unknown), error, json!({}))
    }

    /// The end of a task with a stored result. Its worker has told the world, unless the result is
    /// not believed.
    fn told(&self, result: TaskResult) -> End {
        End::Over {
            answer: Ok(result),
            told: !self.disbelieved,
        }
    }

    /// Answers for the workers. Whatever the broker then has is the outcome.
    async fn settle(&mut self) -> End {
        let own = match self.cancelled.take() {
            Some(reason) => self
                .job
                .result(Some(ErrorKind::Cancelled), Some(reason), json!({})),
            None => self.job.timed_out("and no worker answered"),
        };
        match timeout(SETTLE_WITHIN, self.store(own)).await {
            Ok(Ok(end)) => end,
            Ok(Err(_)) | Err(_) => {
                let task_id = self.job.task.task_id.clone();
                over(Err(TaskError::NoAnswer { task_id }))
            }
        }
    }

    async fn store(&mut self, own: TaskResult) -> Result<End, BrokerError> {
        let broker = &self.core.hub.broker;
        let stored = broker
            .publish_answer(&own, self.job.options.encoding, self.signature.as_deref())
            .await?;
        // The task must not start any more. When this fails, the worker that gets it finds it
        // past its deadline or cancelled, and the result stored.
        if let Some(accepted) = &self.job.accepted
            && let Err(error) = broker.remove_task(accepted).await
        {
            tracing::debug!(task.id = own.task_id, %error, "a settled task was not removed");
        }
        match stored {
            Stored::First => Ok(End::with(own)),
            Stored::AlreadyThere => {
                let winner = broker.answer(&own.session_id, &own.task_id).await?;
                let winner = winner.map(|stored| self.believed(stored));
                Ok(self.told(winner.unwrap_or(own)))
            }
        }
    }
}

/// The end of a task of which nobody was told.
fn over(answer: Answer) -> End {
    End::Over {
        answer,
        told: false,
    }
}
