//! How a task leaves a worker: stored, buried, or handed back, and only then acknowledged.

use std::sync::atomic::Ordering;
use std::time::Duration;

use a3s_shared::broker::{BrokerError, Stored};
use a3s_shared::protocol::{
    AttemptNote, DeadLetter, Event, EventKind, ExternalTask, Outcome, TaskResult, clock,
};
use serde_json::Value;
use tokio::time::sleep;

use crate::answers::{self, Subject};
use crate::delivery::{Answer, Delivery};
use crate::executor::Executor;
use crate::judge::{Job, Settlement};
use crate::lease::Lease;
use crate::steps::Step;
use crate::tool::ToolResult;

/// The wait before a step that the broker did not confirm is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// Payloads above this many bytes are not shown in a dead letter (its body still has them).
const SHOWN_PAYLOAD: usize = 16 * 1024;

impl Executor {
    /// Carries a settlement out. What the broker does not confirm is repeated while the lease is
    /// ours; then the task is left to its redelivery.
    pub(crate) async fn settle(
        &self,
        delivery: &Delivery,
        lease: &Lease<'_>,
        mut job: Job,
        settlement: Settlement,
    ) {
        if matches!(settlement, Settlement::Withhold) || !lease.is_held() {
            tracing::warn!(
                task.id = job.task.task_id,
                "a task was left to its redelivery"
            );
            return;
        }
        let steps = async {
            while let Err(error) = self.step(delivery, &mut job, &settlement).await {
                let task_id = &job.task.task_id;
                if matches!(error, BrokerError::Conflict { .. }) {
                    tracing::warn!(task.id = task_id, %error, "somebody else has this task");
                    return;
                }
                tracing::warn!(task.id = task_id, %error, "a task is not settled yet");
                sleep(REPEAT_AFTER).await;
            }
        };
        tokio::select! {
            biased;
            () = steps => {}
            () = lease.keep() => {
                tracing::warn!(task.id = job.task.task_id, "the lease was lost before it was settled");
            }
        }
    }

    async fn step(
        &self,
        delivery: &Delivery,
        job: &mut Job,
        settlement: &Settlement,
    ) -> Result<(), BrokerError> {
        match settlement {
            Settlement::Withhold => return Ok(()),
            Settlement::Acknowledge => {}
            Settlement::Answer(result) => self.store(delivery, job, result.clone()).await?,
            Settlement::Bury(error) => {
                Box::pin(self.broker.bury(&letter(delivery, job, error))).await?;
                self.steps.at(Step::Buried, &job.task.task_id);
                self.store(delivery, job, answers::given_up(error)).await?;
            }
            Settlement::Again { error, delay } => {
                Box::pin(self.note_attempt(job, error)).await?;
                self.tell_retry(job, error, *delay);
                delivery.answer(&self.broker, Answer::Again(*delay)).await;
                return Ok(());
            }
            Settlement::HandBack => return Box::pin(self.hand_back(delivery, job)).await,
        }
        self.steps.at(Step::ResultPublished, &job.task.task_id);
        let heard = delivery.answer(&self.broker, Answer::Done).await;
        self.steps.at(Step::Acked, &job.task.task_id);
        // A task that may be delivered again must stay readable.
        if heard {
            self.remove_body(delivery, settlement).await;
        }
        Ok(())
    }

    async fn store(
        &self,
        delivery: &Delivery,
        job: &Job,
        result: ToolResult,
    ) -> Result<(), BrokerError> {
        let mut subject = Subject::of(&job.task, &self.worker_id);
        subject.attempt = job.attempt;
        subject.started_at_ms = job.started_at_ms;
        if job.started_at_ms > 0 {
            subject.duration_ms = clock::now_ms().saturating_sub(job.started_at_ms);
        }
        let result = subject.result(result);
        let task = self.signature_of(delivery);
        let answer = self.broker.publish_answer(&result, job.encoding, task);
        match answer.await? {
            Stored::First => {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.tell_end(&job.task, &result);
            }
            Stored::AlreadyThere => {
                tracing::info!(task.id = result.task_id, "its result was there already");
            }
        }
        Ok(())
    }

    /// The signature of a task's message, which a signed result names.
    fn signature_of<'d>(&self, delivery: &'d Delivery) -> Option<&'d str> {
        let signs = self.broker.signatures().key.is_some();
        signs.then(|| delivery.stored.signature()).flatten()
    }

    async fn note_attempt(&self, job: &mut Job, error: &str) -> Result<(), BrokerError> {
        let mut record = job.record.clone();
        record.claim = None;
        record.attempts.push(AttemptNote {
            attempt: job.attempt,
            worker_id: self.worker_id.clone(),
            at_ms: clock::now_ms(),
            error: error.to_owned(),
        });
        job.revision = self.write(job, &record).await?;
        job.record = record;
        Ok(())
    }

    /// Gives a task back unharmed: somebody else starts it at once, and no attempt is counted.
    pub(crate) async fn hand_back(
        &self,
        delivery: &Delivery,
        job: &mut Job,
    ) -> Result<(), BrokerError> {
        let mut record = job.record.clone();
        record.claim = None;
        record.handed_back += 1;
        job.revision = self.write(job, &record).await?;
        job.record = record;
        delivery
            .answer(&self.broker, Answer::Again(Duration::ZERO))
            .await;
        Ok(())
    }

    async fn write(
        &self,
        job: &Job,
        record: &a3s_shared::protocol::TaskRecord,
    ) -> Result<u64, BrokerError> {
        let ExternalTask {
            session_id,
            task_id,
            deadline_ms,
            ..
        } = &job.task;
        let broker = &self.broker;
        broker
            .write_record(session_id, task_id, record, job.revision, *deadline_ms)
            .await
    }

    /// A task that was received and not started goes to whoever has a free slot.
    pub(crate) async fn return_unstarted(&self, delivery: &Delivery) {
        let Ok((task, _)) = delivery.stored.task(&self.broker).await else {
            delivery
                .answer(&self.broker, Answer::Again(Duration::ZERO))
                .await;
            return;
        };
        let (session, id) = (&task.session_id, &task.task_id);
        let Ok((mut record, revision)) = self.broker.record(session, id).await else {
            return;
        };
        record.handed_back += 1;
        let written = self
            .broker
            .write_record(session, id, &record, revision, task.deadline_ms)
            .await;
        if written.is_ok() {
            delivery
                .answer(&self.broker, Answer::Again(Duration::ZERO))
                .await;
        }
    }

    /// A body that makes no sense now never will: it is kept with the reason, and whoever waits
    /// gets a failed result. A large body is also gone when the task has ended: it was delivered
    /// once more, or this worker slept over its only delivery. Then there is a result, and nothing
    /// to keep.
    pub(crate) async fn bury_unreadable(&self, delivery: &Delivery, reason: &str) {
        let task_id = delivery.stored.fallback_id(&self.broker);
        let session = &delivery.stored.address.session;
        if delivery.delivered > 1 || delivery.stored.headers.blob.is_some() {
            match self.broker.has_result(session, &task_id).await {
                Ok(false) => {}
                Ok(true) => {
                    delivery.answer(&self.broker, Answer::Done).await;
                    return;
                }
                Err(_) => return,
            }
        }
        let error = format!("the task cannot be read: {reason}");
        tracing::warn!(task.id = task_id, subject = delivery.stored.subject, %error, "a task was buried");
        let letter = delivery.stored.dead_letter(task_id.clone(), &error);
        let subject = Subject {
            task_id,
            session_id: delivery.stored.address.session.clone(),
            lane: delivery.stored.address.lane,
            command_type: String::new(),
            worker_id: self.worker_id.clone(),
            attempt: 0,
            started_at_ms: 0,
            duration_ms: 0,
        };
        let encoding = delivery.stored.headers.encoding(&delivery.stored.body);
        let result = subject.result(answers::given_up(&error));
        let stored = async {
            self.broker.bury(&letter).await?;
            let task = self.signature_of(delivery);
            self.broker.publish_answer(&result, encoding, task).await
        };
        match stored.await {
            Ok(_) => {
                self.tell_unreadable(&result);
                delivery.answer(&self.broker, Answer::Done).await;
            }
            Err(error) => tracing::warn!(%error, "an unreadable task was left to its redelivery"),
        }
    }

    async fn remove_body(&self, delivery: &Delivery, settlement: &Settlement) {
        // A dead letter needs its body for the replay.
        if matches!(settlement, Settlement::Bury(_)) {
            return;
        }
        if let Some(name) = &delivery.stored.headers.blob
            && let Err(error) = Box::pin(self.broker.remove_blob(name)).await
        {
            tracing::debug!(%error, "a body stays until its time is over");
        }
    }

    fn tell_end(&self, task: &ExternalTask, result: &TaskResult) {
        let kind = match result.outcome() {
            Outcome::Completed => EventKind::Completed,
            Outcome::TimedOut => EventKind::Timeout,
            Outcome::DeadLettered => EventKind::DeadLettered,
            Outcome::Failed | Outcome::Cancelled | Outcome::Unknown => EventKind::Failed,
        };
        self.broker.emit(&task.session_id, kind, || Event {
            attempt: Some(result.attempt),
            duration_ms: Some(result.duration_ms),
            error: result.error.clone(),
            ..self.event(kind, task)
        });
    }

    fn tell_unreadable(&self, result: &TaskResult) {
        let (kind, session) = (EventKind::DeadLettered, &result.session_id);
        self.broker.emit(session, kind, || Event {
            task_id: Some(result.task_id.clone()),
            lane: Some(result.lane),
            worker_id: Some(self.worker_id.clone()),
            error: result.error.clone(),
            ..Event::of_session(kind, session.clone(), clock::now_ms())
        });
    }

    fn tell_retry(&self, job: &Job, error: &str, delay: Duration) {
        let (kind, session) = (EventKind::Retry, &job.task.session_id);
        self.broker.emit(session, kind, || Event {
            attempt: Some(job.attempt),
            error: Some(error.to_owned()),
            delay_ms: u64::try_from(delay.as_millis()).ok(),
            ..self.event(kind, &job.task)
        });
    }
}

fn letter(delivery: &Delivery, job: &Job, error: &str) -> DeadLetter {
    let shown = serde_json::to_vec(&job.task.payload).is_ok_and(|p| p.len() <= SHOWN_PAYLOAD);
    // An attempt that is over before this one is known by its number alone.
    let attempts = job.attempt.max(
        job.retry.max_attempts().min(
            u32::try_from(delivery.delivered)
                .unwrap_or(u32::MAX)
                .saturating_sub(1),
        ),
    );
    DeadLetter {
        command_type: job.task.command_type.clone(),
        attempts,
        history: job.record.attempts.clone(),
        payload: if shown {
            job.task.payload.clone()
        } else {
            Value::Null
        },
        ..delivery.stored.dead_letter(job.task.task_id.clone(), error)
    }
}
