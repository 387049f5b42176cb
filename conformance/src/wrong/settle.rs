//! How a task leaves the wrong worker.

use a3s_shared::broker::{Outgoing, PublishError, StoredTask};
use a3s_shared::protocol::{
    AttemptNote, Encoding, ErrorKind, ExternalTask, SessionLane, TaskResult, clock,
};
use a3s_worker::tool::ToolResult;
use anyhow::{Result, ensure};
use async_nats::Subject;
use serde_json::json;

use super::run::{End, Job, failed};
use super::{Fault, Wrong};

/// What is too large for a message here goes nowhere: the cases of this worker need no more.
const LARGEST: usize = 256 * 1024;

impl Wrong {
    pub(super) async fn settle(&self, mut job: Job, end: End) -> Result<()> {
        match end {
            End::Nothing => return Ok(()),
            End::Acknowledge => {}
            End::Result(result) => self.store(&job, result).await?,
            End::Bury(error) => {
                let mut letter = job.stored.dead_letter(job.task.task_id.clone(), &error);
                letter.command_type.clone_from(&job.task.command_type);
                letter.payload = job.task.payload.clone();
                letter.attempts = job.attempt;
                letter.history.clone_from(&job.record.attempts);
                self.broker.bury(&letter).await?;
                let result = failed(ErrorKind::DeadLettered, &error);
                self.store(&job, result).await?;
            }
            End::Again(error, delay) => {
                job.record.claim = None;
                job.record.attempts.push(AttemptNote {
                    attempt: job.attempt,
                    worker_id: self.config.worker_id.clone(),
                    at_ms: clock::now_ms(),
                    error,
                });
                self.write_record(&mut job).await?;
                let delay = json!({ "delay": delay.as_nanos() });
                return self.tell(&job, &format!("-NAK {delay}")).await;
            }
        }
        self.tell(&job, "+ACK").await?;
        if let Some(name) = &job.stored.headers.blob
            && !self.has(Fault::LeavesBodies)
        {
            self.broker.remove_blob(name).await?;
        }
        Ok(())
    }

    pub(super) async fn unreadable(
        &self,
        stored: &StoredTask,
        reply: &Subject,
        reason: &str,
    ) -> Result<()> {
        let client = self.broker.client();
        if self.has(Fault::RetriesNonsense) {
            let again = r#"-NAK {"delay": 100000000}"#;
            client.request(reply.clone(), again.into()).await?;
            return Ok(());
        }
        let task_id = stored.fallback_id(&self.broker);
        self.broker
            .bury(&stored.dead_letter(task_id.clone(), reason))
            .await?;
        let task = ExternalTask {
            task_id,
            session_id: stored.address.session.clone(),
            lane: stored.address.lane,
            command_type: String::new(),
            payload: json!(null),
            timeout_ms: 0,
            deadline_ms: 0,
        };
        let encoding = stored.headers.encoding(&stored.body);
        let result = failed(ErrorKind::DeadLettered, reason);
        self.publish(&self.result(&task, 0, 0, result), encoding)
            .await?;
        client.request(reply.clone(), "+ACK".into()).await?;
        Ok(())
    }

    async fn store(&self, job: &Job, mut result: ToolResult) -> Result<()> {
        if self.has(Fault::AcksFirst) {
            self.tell(job, "+ACK").await?;
        }
        if self.has(Fault::DropsFailedResults) && !result.success {
            result.result = json!({});
        }
        let result = self.result(&job.task, job.attempt, job.started_at_ms, result);
        self.publish(&result, job.encoding).await
    }

    fn result(
        &self,
        task: &ExternalTask,
        attempt: u32,
        started_at_ms: u64,
        tool: ToolResult,
    ) -> TaskResult {
        let lane: SessionLane = task.lane;
        TaskResult {
            task_id: task.task_id.clone(),
            session_id: task.session_id.clone(),
            lane,
            command_type: task.command_type.clone(),
            success: tool.success,
            result: tool.result,
            error: tool.error,
            error_kind: tool.error_kind,
            attempt,
            worker_id: self.config.worker_id.clone(),
            started_at_ms,
            duration_ms: clock::now_ms().saturating_sub(started_at_ms),
        }
    }

    async fn publish(&self, result: &TaskResult, encoding: Encoding) -> Result<()> {
        let encoding = match self.has(Fault::AlwaysJson) {
            true => Encoding::Json,
            false => encoding,
        };
        let body = encoding.encode(result);
        ensure!(body.len() < LARGEST, "a result of {} bytes", body.len());
        let outgoing = Outgoing {
            subject: format!("a3s.{}.result.{}", result.session_id, result.task_id),
            headers: vec![("Content-Type", encoding.content_type().to_owned())],
            body: body.into(),
            expected_last: (!self.has(Fault::Overwrites)).then_some(0),
            ..Outgoing::default()
        };
        match self.broker.publish(&outgoing).await {
            Ok(_) | Err(PublishError::Exists(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn write_record(&self, job: &mut Job) -> Result<()> {
        let task = &job.task;
        let (session, id) = (&task.session_id, &task.task_id);
        let deadline = task.deadline_ms;
        let written = self
            .broker
            .write_record(session, id, &job.record, job.revision, deadline);
        job.revision = written.await?;
        Ok(())
    }

    /// Tells the broker of a delivery, and waits for its word.
    pub(super) async fn tell(&self, job: &Job, answer: &str) -> Result<()> {
        let (client, answer) = (self.broker.client(), answer.to_owned());
        if self.has(Fault::AcksBlindly) {
            client.publish(job.reply.clone(), answer.into()).await?;
        } else {
            client.request(job.reply.clone(), answer.into()).await?;
        }
        Ok(())
    }
}
