//! How a task leaves a worker: stored, buried, or handed back, and only then acknowledged.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::Duration;

use a3s_shared::broker::{BLOB_THRESHOLD, BrokerError, PreparedResult, REQUEST_TIMEOUT, Stored};
use a3s_shared::protocol::{
    AttemptNote, Encoding, Event, EventKind, ExternalTask, Outcome, SessionLane, TaskResult, clock,
};
use async_nats::Subject;
use tokio::time::sleep;

use crate::answers;
use crate::bury::letter;
use crate::delivery::{Answer, Delivery, tell};
use crate::executor::Executor;
use crate::judge::{Job, Settlement};
use crate::lease::Lease;
use crate::steps::Step;
use crate::tool::ToolResult;

/// The wait before a step that the broker did not confirm is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// How long the broker may take for a result before the lease must be kept meanwhile: the client to
/// take it, the broker to answer, and a second for that to be noticed.
const ONE_TRY: Duration = REQUEST_TIMEOUT
    .saturating_mul(2)
    .saturating_add(Duration::from_secs(1));

/// A task's result on its way to the broker. While that answers, this is all that is kept.
struct Ending {
    result: TaskResult,
    encoding: Encoding,
    /// The signature of the task's message, where results are signed.
    answers: Option<String>,
    /// The result in this encoding, until a message is made of it.
    body: Vec<u8>,
    prepared: Option<PreparedResult>,
    receipt: Receipt,
}

/// What acknowledges a task.
struct Receipt {
    lane: SessionLane,
    reply: Subject,
    /// Its large body, which goes with it.
    blob: Option<String>,
}

impl Receipt {
    fn of(delivery: Delivery) -> Self {
        Self {
            lane: delivery.stored.address.lane,
            reply: delivery.reply,
            blob: delivery.stored.headers.blob,
        }
    }
}

impl Executor {
    /// Carries a settlement out. What the broker does not confirm is repeated while the lease is
    /// ours; then the task is left to its redelivery.
    pub(crate) async fn settle(
        &self,
        delivery: Box<Delivery>,
        lease: &Lease<'_>,
        job: Box<Job>,
        settlement: Settlement,
    ) {
        if matches!(settlement, Settlement::Withhold) || !lease.is_held() {
            let task_id = &job.task.task_id;
            tracing::warn!(task.id = task_id, "a task was left to its redelivery");
            return;
        }
        let ending = match settlement {
            Settlement::Answer(result) => self.ending(*delivery, *job, result),
            Settlement::Acknowledge => {
                let receipt = Receipt::of(*delivery);
                return self.acknowledge(receipt, job.task.task_id).await;
            }
            other => {
                let ending = self.settle_otherwise(lease, delivery, job, other);
                match Box::pin(ending).await {
                    Some(ending) => ending,
                    None => return,
                }
            }
        };
        self.end(lease, ending).await;
    }

    /// Stores a result, then acknowledges its task.
    async fn end(&self, lease: &Lease<'_>, mut ending: Box<Ending>) {
        // The broker nearly always confirms at once: the lease need not be kept before it has not.
        // A large body is another matter.
        let mut stored = false;
        if lease.left() > ONE_TRY && ending.body.len() <= BLOB_THRESHOLD {
            match self.store(&mut ending).await {
                Ok(()) => stored = true,
                Err(error) => not_yet(&ending.result.task_id, &error),
            }
        }
        if stored || Box::pin(self.store_at_last(lease, &mut ending)).await {
            let task_id = ending.result.task_id;
            self.acknowledge(ending.receipt, task_id).await;
        }
    }

    /// Stores a result, with as many tries as it takes. Whether it is stored.
    async fn store_at_last(&self, lease: &Lease<'_>, ending: &mut Ending) -> bool {
        let task_id = ending.result.task_id.clone();
        let steps = async {
            while let Err(error) = self.store(ending).await {
                if !may_try_again(&task_id, &error).await {
                    return false;
                }
            }
            true
        };
        while_held(lease, &task_id, steps).await
    }

    /// Buries a task, or has it delivered again. What is to be stored then.
    async fn settle_otherwise(
        &self,
        lease: &Lease<'_>,
        delivery: Box<Delivery>,
        mut job: Box<Job>,
        settlement: Settlement,
    ) -> Option<Box<Ending>> {
        let task_id = job.task.task_id.clone();
        let steps = async {
            while let Err(error) = self.step(&delivery, &mut job, &settlement).await {
                if !may_try_again(&task_id, &error).await {
                    return false;
                }
            }
            true
        };
        let done = while_held(lease, &task_id, steps).await;
        let Settlement::Bury(error) = settlement else {
            return None;
        };
        if !done {
            return None;
        }
        self.steps.at(Step::Buried, &task_id);
        let mut ending = self.ending(*delivery, *job, answers::given_up(&error));
        // A dead letter needs its body for the replay.
        ending.receipt.blob = None;
        Some(ending)
    }

    async fn step(
        &self,
        delivery: &Delivery,
        job: &mut Job,
        settlement: &Settlement,
    ) -> Result<(), BrokerError> {
        match settlement {
            Settlement::Bury(error) => {
                self.broker.bury(&letter(delivery, job, error)).await?;
            }
            Settlement::Again { error, delay } => {
                self.note_attempt(job, error).await?;
                self.tell_retry(job, error, *delay);
                delivery.answer(&self.broker, Answer::Again(*delay)).await;
            }
            Settlement::HandBack => self.hand_back(delivery, job).await?,
            Settlement::Answer(_) | Settlement::Acknowledge | Settlement::Withhold => {}
        }
        Ok(())
    }

    fn ending(&self, delivery: Delivery, job: Job, result: ToolResult) -> Box<Ending> {
        let Job {
            task,
            started_at_ms,
            ..
        } = job;
        let result = TaskResult {
            task_id: task.task_id,
            session_id: task.session_id,
            lane: task.lane,
            command_type: task.command_type,
            success: result.success,
            result: result.result,
            error: result.error,
            error_kind: result.error_kind,
            attempt: job.attempt,
            worker_id: self.worker_id.clone(),
            started_at_ms,
            duration_ms: match started_at_ms {
                0 => 0,
                started => clock::now_ms().saturating_sub(started),
            },
        };
        Box::new(Ending {
            body: job.encoding.encode(&result),
            result,
            encoding: job.encoding,
            answers: self.signature_of(&delivery).map(str::to_owned),
            prepared: None,
            receipt: Receipt::of(delivery),
        })
    }

    /// Stores a result, with one try.
    async fn store(&self, ending: &mut Ending) -> Result<(), BrokerError> {
        let Ending {
            result,
            encoding,
            answers,
            body,
            prepared,
            ..
        } = ending;
        let prepared = match prepared {
            Some(prepared) => prepared,
            None => {
                // Gone with a try that failed.
                let body = match mem::take(body) {
                    gone if gone.is_empty() => encoding.encode(result),
                    body => body,
                };
                let broker = &self.broker;
                let made = broker.prepare_result(result, *encoding, body, answers.as_deref());
                prepared.insert(made.await?)
            }
        };
        match self.broker.store_result(prepared, result).await? {
            Stored::First => {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.tell_end(result);
            }
            Stored::AlreadyThere => {
                tracing::info!(task.id = result.task_id, "its result was there already");
            }
        }
        Ok(())
    }

    /// Acknowledges a task that has a result.
    async fn acknowledge(&self, receipt: Receipt, task_id: String) {
        self.steps.at(Step::ResultPublished, &task_id);
        let Receipt { lane, reply, blob } = receipt;
        match blob {
            None => self.acks.add(lane, reply, task_id),
            Some(blob) => Box::pin(self.acknowledge_large(&reply, &blob, &task_id)).await,
        }
    }

    /// Acknowledges a task and removes its body; not before: a task that may be delivered again must
    /// stay readable.
    async fn acknowledge_large(&self, reply: &Subject, blob: &str, task_id: &str) {
        let heard = tell(&self.broker, reply, Answer::Done).await;
        self.steps.at(Step::Acked, task_id);
        if heard && let Err(error) = self.broker.remove_blob(blob).await {
            tracing::debug!(%error, "a body stays until its time is over");
        }
    }

    /// The signature of a task's message, which a signed result names.
    pub(crate) fn signature_of<'d>(&self, delivery: &'d Delivery) -> Option<&'d str> {
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

    fn tell_end(&self, result: &TaskResult) {
        let kind = match result.outcome() {
            Outcome::Completed => EventKind::Completed,
            Outcome::TimedOut => EventKind::Timeout,
            Outcome::DeadLettered => EventKind::DeadLettered,
            Outcome::Failed | Outcome::Cancelled | Outcome::Unknown => EventKind::Failed,
        };
        let session = &result.session_id;
        self.broker.emit(session, kind, || Event {
            task_id: Some(result.task_id.clone()),
            lane: Some(result.lane),
            command_type: Some(result.command_type.clone()),
            worker_id: Some(self.worker_id.clone()),
            attempt: Some(result.attempt),
            duration_ms: Some(result.duration_ms),
            error: result.error.clone(),
            ..Event::of_session(kind, session.clone(), clock::now_ms())
        });
    }

    pub(crate) fn tell_unreadable(&self, result: &TaskResult) {
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

/// Keeps the lease while `steps` are taken. Whether they came to their end before it was lost.
async fn while_held(lease: &Lease<'_>, task_id: &str, steps: impl Future<Output = bool>) -> bool {
    tokio::select! {
        biased;
        done = steps => done,
        () = lease.keep() => {
            tracing::warn!(task.id = task_id, "the lease was lost before it was settled");
            false
        }
    }
}

/// Waits after a step that failed. Whether to try it again: not when somebody else has the task.
async fn may_try_again(task_id: &str, error: &BrokerError) -> bool {
    if matches!(error, BrokerError::Conflict { .. }) {
        tracing::warn!(task.id = task_id, %error, "somebody else has this task");
        return false;
    }
    not_yet(task_id, error);
    sleep(REPEAT_AFTER).await;
    true
}

fn not_yet(task_id: &str, error: &BrokerError) {
    tracing::warn!(task.id = task_id, %error, "a task is not settled yet");
}
