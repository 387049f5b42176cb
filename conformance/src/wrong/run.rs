//! One task of the wrong worker, up to its tool's verdict.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use a3s_shared::broker::{StoredTask, header_pairs};
use a3s_shared::protocol::{
    Claim, Effect, Encoding, ErrorKind, ExternalTask, RetryPolicy, TaskHeaders, TaskRecord, clock,
};
use a3s_worker::context::{Stop, StopReason, ToolContext};
use a3s_worker::tool::{Tool, ToolResult, Verdict};
use anyhow::{Context, Result, anyhow};
use async_nats::{Message, Subject};
use futures::FutureExt;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, sleep_until};

use super::{Fault, Wrong};

/// A task that was delivered.
pub(super) struct Job {
    pub(super) stored: StoredTask,
    pub(super) reply: Subject,
    pub(super) task: ExternalTask,
    pub(super) encoding: Encoding,
    pub(super) effect: Effect,
    pub(super) retry: RetryPolicy,
    pub(super) record: TaskRecord,
    pub(super) revision: u64,
    pub(super) attempt: u32,
    pub(super) started_at_ms: u64,
}

/// What a run comes to.
pub(super) enum End {
    /// This is the task's result.
    Result(ToolResult),
    /// Another attempt, after this time.
    Again(String, Duration),
    /// No attempt.
    Bury(String),
    /// There is a result already.
    Acknowledge,
    /// It is no longer ours.
    Nothing,
}

impl Wrong {
    /// Takes one delivery to its end.
    pub(super) async fn handle(&self, message: Message, slot: Option<OwnedSemaphorePermit>) {
        // Here at the latest: greed is to take too much, not to run too much.
        let _slot = match slot {
            Some(slot) => Ok(slot),
            None => std::sync::Arc::clone(&self.slots).acquire_owned().await,
        };
        if let Err(error) = self.handled(message).await {
            eprintln!("a task was left: {error:#}");
        }
    }

    async fn handled(&self, message: Message) -> Result<()> {
        let (stored, reply, delivered) = self.read(message)?;
        let (task, encoding) = match stored.task(&self.broker).await {
            Ok(read) => read,
            Err(reason) => {
                let reason = reason.to_string();
                return self.unreadable(&stored, &reply, &reason).await;
            }
        };
        let mut job = Job {
            effect: stored.headers.effect_in(task.lane),
            retry: stored.headers.retry_in(task.lane),
            record: TaskRecord::default(),
            revision: 0,
            attempt: 0,
            started_at_ms: 0,
            stored,
            reply,
            task,
            encoding,
        };
        let end = match self.known(&mut job, delivered).await? {
            Some(end) => end,
            None => self.begin(&mut job, delivered).await?,
        };
        self.settle(job, end).await
    }

    fn read(&self, message: Message) -> Result<(StoredTask, Subject, u64)> {
        let reply = message.reply.clone().context("no delivery")?;
        let raw_headers = message.headers.clone().unwrap_or_default();
        let headers = TaskHeaders::read(header_pairs(&raw_headers));
        let address = self.broker.names().parse_task(&message.subject);
        let (subject, body) = (message.subject.to_string(), message.payload.clone());
        let context = self.broker.jetstream().clone();
        let message = async_nats::jetstream::Message { message, context };
        let info = message.info().map_err(|error| anyhow!("{error}"))?;
        let stored_at_ms = info.published.unix_timestamp_nanos() / 1_000_000;
        let stored = StoredTask {
            address: address.context("no task")?,
            subject,
            headers,
            body,
            stream: info.stream.to_owned(),
            sequence: info.stream_sequence,
            stored_at_ms: u64::try_from(stored_at_ms)?,
            raw_headers,
        };
        Ok((stored, reply, u64::try_from(info.delivered)?))
    }

    /// What can be said of the task before it is run.
    async fn known(&self, job: &mut Job, delivered: u64) -> Result<Option<End>> {
        let (session, id) = (&job.task.session_id, &job.task.task_id);
        let key = (session.clone(), id.clone());
        let mut cancelled = self.cancelled.borrow().contains(&key);
        if delivered > 1 {
            if !self.has(Fault::ForgetsResults) && self.broker.has_result(session, id).await? {
                return Ok(Some(End::Acknowledge));
            }
            if !self.has(Fault::IgnoresRecords) {
                (job.record, job.revision) = self.broker.record(session, id).await?;
            }
            cancelled |= self.broker.is_cancelled(session, id).await?.is_some();
        }
        job.attempt = match job.effect {
            Effect::Idempotent => job.record.attempt(delivered),
            Effect::Once => u32::try_from(job.record.attempts.len())? + 1,
        };
        Ok(self.judged(job, cancelled))
    }

    fn judged(&self, job: &mut Job, cancelled: bool) -> Option<End> {
        let kind = if job.record.claim.is_some() {
            Some(ErrorKind::Unknown)
        } else if cancelled {
            Some(ErrorKind::Cancelled)
        } else {
            job.task.is_timed_out().then_some(ErrorKind::TimedOut)
        };
        if let Some(kind) = kind {
            job.attempt = 0;
            return Some(End::Result(failed(kind, "it was not started")));
        }
        let attempts = job.retry.max_attempts();
        let over = job.attempt > attempts && !self.has(Fault::NeverGivesUp);
        over.then(|| {
            job.attempt = attempts;
            End::Bury(format!("{attempts} attempts failed"))
        })
    }

    async fn begin(&self, job: &mut Job, delivered: u64) -> Result<End> {
        let Some(tool) = self.registry.get(&job.task.command_type) else {
            let error = format!("Unknown command type: {}", job.task.command_type);
            return Ok(End::Result(failed(ErrorKind::UnknownCommand, &error)));
        };
        let late = self.has(Fault::ClaimsLate);
        if job.effect == Effect::Once && !late {
            let claimed = self.claim(job).await;
            if claimed.is_err() && !self.has(Fault::StartsUnclaimed) {
                return Ok(End::Nothing);
            }
        }
        job.started_at_ms = clock::now_ms();
        if self.has(Fault::RunsTwice) && delivered == 1 {
            self.run(tool.as_ref(), job).await;
        }
        let end = self.run(tool.as_ref(), job).await;
        if job.effect == Effect::Once && late {
            self.claim(job).await?;
        }
        Ok(end)
    }

    async fn claim(&self, job: &mut Job) -> Result<()> {
        job.record.claim = Some(Claim {
            worker_id: self.config.worker_id.clone(),
            attempt: job.attempt,
            at_ms: clock::now_ms(),
        });
        self.write_record(job).await
    }

    async fn run(&self, tool: &dyn Tool, job: &Job) -> End {
        let task = &job.task;
        let stop = Stop::default();
        let workspace = std::sync::Arc::clone(&self.workspace);
        let context = ToolContext::new(workspace, task.deadline_ms, stop.clone(), None);
        let run = AssertUnwindSafe(tool.run(task, &context)).catch_unwind();
        tokio::pin!(run);
        let kind = tokio::select! {
            verdict = &mut run => return concluded(verdict.ok(), job, self),
            () = self.until_cancelled(task) => ErrorKind::Cancelled,
            () = self.until_late(&context) => ErrorKind::TimedOut,
            () = self.renew(job) => return End::Nothing,
        };
        stop.tell(StopReason::Cancelled);
        let _ = run.await;
        End::Result(failed(kind, "it was stopped"))
    }

    async fn until_cancelled(&self, task: &ExternalTask) {
        let key = (task.session_id.clone(), task.task_id.clone());
        let mut cancelled = self.cancelled.subscribe();
        let heard = cancelled.wait_for(|all| all.contains(&key)).await.is_ok();
        if !heard || self.has(Fault::IgnoresCancels) {
            std::future::pending::<()>().await;
        }
    }

    async fn until_late(&self, context: &ToolContext) {
        if self.has(Fault::IgnoresDeadlines) {
            std::future::pending::<()>().await;
        }
        sleep_until(context.deadline()).await;
    }

    /// Keeps the lease; returns when it is lost.
    async fn renew(&self, job: &Job) {
        if self.has(Fault::RenewsNothing) {
            std::future::pending::<()>().await;
        }
        let mut confirmed = Instant::now();
        while confirmed.elapsed() < self.ack_wait {
            sleep(self.ack_wait / 3).await;
            let sent = Instant::now();
            if self.tell(job, "+WPI").await.is_ok() {
                confirmed = sent;
            }
        }
    }
}

pub(super) fn failed(kind: ErrorKind, error: &str) -> ToolResult {
    ToolResult {
        success: false,
        result: json!({}),
        error: Some(error.to_owned()),
        error_kind: Some(kind),
    }
}

fn concluded(verdict: Option<Verdict>, job: &Job, worker: &Wrong) -> End {
    let (error, delay) = match verdict {
        Some(Verdict::Done(result)) => return End::Result(result),
        Some(Verdict::Reject(error)) => return End::Bury(error),
        Some(Verdict::Retry(error)) => {
            let delay = job.retry.delay_ms(job.attempt, 1.0);
            (error, Duration::from_millis(delay))
        }
        Some(Verdict::RetryAfter(error, delay)) => (error, delay),
        _ => return End::Result(failed(ErrorKind::Other, "the tool broke")),
    };
    if job.attempt >= job.retry.max_attempts() && !worker.has(Fault::NeverGivesUp) {
        return End::Bury(error);
    }
    End::Again(error, delay)
}
