//! What is given up: the dead letter of a task, and the way of one that cannot be read.

use a3s_shared::protocol::{DeadLetter, TaskResult};
use serde_json::Value;

use crate::answers;
use crate::delivery::{Answer, Delivery};
use crate::executor::Executor;
use crate::judge::Job;

/// Payloads above this many bytes are not shown in a dead letter (its body still has them).
const SHOWN_PAYLOAD: usize = 16 * 1024;

impl Executor {
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
        let answer = answers::given_up(&error);
        let result = TaskResult {
            task_id,
            session_id: delivery.stored.address.session.clone(),
            lane: delivery.stored.address.lane,
            command_type: String::new(),
            success: answer.success,
            result: answer.result,
            error: answer.error,
            error_kind: answer.error_kind,
            attempt: 0,
            worker_id: self.worker_id.clone(),
            started_at_ms: 0,
            duration_ms: 0,
        };
        let encoding = delivery.stored.headers.encoding(&delivery.stored.body);
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
}

/// The dead letter of a task that was read.
pub(crate) fn letter(delivery: &Delivery, job: &Job, error: &str) -> DeadLetter {
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
