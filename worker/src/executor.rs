//! A task's way through a worker: checked, claimed, run, its result stored, then acknowledged.
//!
//! The order is what makes it safe. Every check comes before the tool sees the payload; the
//! result is stored before the task is acknowledged, so a crash in between repeats the delivery,
//! and whoever gets it finds the result and only acknowledges.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::Poll;
use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, Unread};
use a3s_shared::protocol::{
    Claim, Effect, ErrorKind, Event, EventKind, ExternalTask, TaskRecord, clock,
};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::acks::Acks;
use crate::answers;
use crate::cancels::{Cancels, Interest};
use crate::checkout::{Checkouts, may_share};
use crate::context::{Stop, StopReason, ToolContext};
use crate::delivery::Delivery;
use crate::judge::{Job, Settlement, attempt_of, conclude, judge};
use crate::lease::Lease;
use crate::policy::Policy;
use crate::progress::ProgressPump;
use crate::registry::Registry;
use crate::sandbox::Sandbox;
use crate::slots::Slot;
use crate::steps::{Step, Steps};
use crate::tool::{STOP_GRACE, Tool, ToolResult, Verdict};
use crate::trust::{Trust, may_be_a_copy};
use crate::workspace::Workspace;

/// What every run shares. One a worker.
pub(crate) struct Executor {
    pub(crate) broker: Broker,
    pub(crate) worker_id: String,
    pub(crate) registry: Registry,
    pub(crate) workspace: Arc<Workspace>,
    pub(crate) sandbox: Arc<Sandbox>,
    /// The trees that tasks name instead.
    pub(crate) checkouts: Checkouts,
    pub(crate) cancels: Cancels,
    pub(crate) progress: ProgressPump,
    pub(crate) acks: Acks,
    pub(crate) ack_wait: Duration,
    /// Set when running tools must end because the worker does.
    pub(crate) stop_now: watch::Receiver<bool>,
    /// Results that this worker stored.
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) steps: Steps,
    /// Whose tasks are run; without it, everybody's.
    pub(crate) trust: Option<Trust>,
}

impl Executor {
    /// Takes one delivery to its end. `slot` returns as soon as the tool has ended.
    pub(crate) async fn run(&self, delivery: Box<Delivery>, slot: Slot) {
        let lease = Lease::new(&self.broker, &delivery, self.ack_wait);
        let mut job = match self.job(&delivery, &lease).await {
            Ok(job) => job,
            Err(Unread::Never(reason)) => {
                return Box::pin(self.bury_unreadable(&delivery, &reason)).await;
            }
            Err(Unread::NotNow(error)) => {
                let task_id = delivery.stored.fallback_id(&self.broker);
                tracing::warn!(task.id = task_id, %error, "a task was left for later");
                return;
            }
        };
        self.steps.at(Step::Pulled, &job.task.task_id);
        let settlement = match self.examine(&delivery, &mut job).await {
            Ok(Some(settlement)) => settlement,
            Ok(None) => self.start(&delivery, &lease, &mut job).await,
            Err(error) => {
                tracing::warn!(task.id = job.task.task_id, %error, "a task was left for later");
                Settlement::Withhold
            }
        };
        drop(slot);
        self.settle(delivery, &lease, job, settlement).await;
    }

    async fn job(&self, delivery: &Delivery, lease: &Lease<'_>) -> Result<Box<Job>, Unread> {
        let read = delivery.stored.task(&self.broker);
        let (task, encoding) =
            match &delivery.stored.headers.blob {
                None => read.await?,
                // A large body takes a while to come.
                Some(name) => Box::pin(async {
                    tokio::select! {
                        biased;
                        read = read => read,
                        () = lease.keep() => Err(Unread::NotNow(BrokerError::Conflict {
                            what: format!("the lease of a task, while its body {name} was read"),
                        })),
                    }
                })
                .await?,
            };
        Ok(Box::new(Job {
            encoding,
            effect: delivery.stored.headers.effect_in(task.lane),
            retry: delivery.stored.headers.retry_in(task.lane),
            record: TaskRecord::default(),
            revision: 0,
            attempt: 0,
            started_at_ms: 0,
            task,
        }))
    }

    /// What can be said of a task before its tool sees it; `None`: it is to be run. On a first
    /// delivery this costs no lookup.
    async fn examine(
        &self,
        delivery: &Delivery,
        job: &mut Job,
    ) -> Result<Option<Settlement>, BrokerError> {
        let (session, id) = (&job.task.session_id, &job.task.task_id);
        let mut marker = self.cancels.marker(session, id);
        let copy = || may_be_a_copy(delivery.stored.stored_at_ms, &job.task);
        if delivery.delivered > 1 || (self.trust.is_some() && copy()) {
            // Boxed, as all that is rare here: the future of every task is moved about.
            let past = async {
                tokio::try_join!(
                    self.broker.has_result(session, id),
                    self.broker.record(session, id),
                    self.broker.is_cancelled(session, id),
                )
            };
            let (done, record, cancelled) = Box::pin(past).await?;
            if done {
                return Ok(Some(Settlement::Acknowledge));
            }
            (job.record, job.revision) = record;
            marker = marker.or(cancelled);
        }
        if let Some(trust) = &self.trust
            && let Err(refusal) = trust.check(&delivery.stored, &job.task)
        {
            return Ok(Some(Settlement::Answer(answers::refused(&refusal))));
        }
        Ok(judge(job, delivery.delivered, marker.as_ref()).or_else(|| {
            let refused = self.refuse(&job.task.command_type);
            refused.map(Settlement::Answer)
        }))
    }

    /// The answer to a task whose tool is not here, or not allowed.
    fn refuse(&self, command: &str) -> Option<ToolResult> {
        let policy = self.sandbox.policy();
        if self.registry.get(command).is_none() {
            let tools = self.registry.names().into_iter();
            let allowed: Vec<String> = tools.filter(|t| policy.allow_tool(t).is_ok()).collect();
            return Some(answers::unknown_command(command, &allowed));
        }
        let refusal = policy.allow_tool(command).err()?;
        Some(answers::not_allowed(&refusal))
    }

    async fn start(&self, delivery: &Delivery, lease: &Lease<'_>, job: &mut Job) -> Settlement {
        let Some(tool) = self.registry.get(&job.task.command_type) else {
            return Settlement::Withhold;
        };
        job.attempt = attempt_of(job, delivery.delivered);
        if job.effect == Effect::Once {
            if !lease.is_held() {
                return Settlement::Withhold;
            }
            if let Some(settlement) = Box::pin(self.claim(job)).await {
                return settlement;
            }
        }
        self.steps.at(Step::Claimed, &job.task.task_id);
        // Whoever has the task now may have answered it, or be running it.
        if !lease.is_held() {
            return Settlement::Withhold;
        }
        // A claim can take long: the broker was away, or this process was stopped.
        let now_ms = clock::now_ms();
        if job.task.deadline_ms <= now_ms {
            job.attempt = 0;
            return Settlement::Answer(answers::too_late(&job.task));
        }
        job.started_at_ms = now_ms;
        let (kind, session) = (EventKind::Started, &job.task.session_id);
        self.broker.emit(session, kind, || Event {
            attempt: Some(job.attempt),
            ..self.event(kind, &job.task)
        });
        let tree = delivery.stored.headers.workspace.as_deref();
        let (verdict, stopped) = self.run_tool(tool.as_ref(), &job.task, tree, lease).await;
        self.steps.at(Step::Finished, &job.task.task_id);
        match stopped {
            None => {
                let verdict = verdict.map(|verdict| self.measured(tool.as_ref(), verdict));
                conclude(verdict, job, rand::random())
            }
            Some(StopReason::LeaseLost) => Settlement::Withhold,
            Some(StopReason::Shutdown) if job.effect == Effect::Idempotent => Settlement::HandBack,
            Some(reason) => {
                Settlement::Answer(answers::stopped(reason, &job.task, partial(verdict)))
            }
        }
    }

    /// Takes the right to start a `once` task; `Some` when it is not to be had.
    async fn claim(&self, job: &mut Job) -> Option<Settlement> {
        let claim = Claim {
            worker_id: self.worker_id.clone(),
            attempt: job.attempt,
            at_ms: clock::now_ms(),
        };
        job.record.claim = Some(claim);
        let ExternalTask {
            session_id,
            task_id,
            deadline_ms,
            ..
        } = &job.task;
        let written = self
            .broker
            .write_record(session_id, task_id, &job.record, job.revision, *deadline_ms)
            .await;
        match written {
            Ok(revision) => {
                job.revision = revision;
                None
            }
            // Our own write whose answer was lost looks the same. It did not start anything, but
            // nobody can tell, so the next delivery is answered by what the record says.
            Err(error) => {
                tracing::warn!(task.id = task_id, %error, "a task could not be claimed");
                Some(Settlement::Withhold)
            }
        }
    }

    async fn run_tool(
        &self,
        tool: &dyn Tool,
        task: &ExternalTask,
        tree: Option<&str>,
        lease: &Lease<'_>,
    ) -> (Option<Verdict>, Option<StopReason>) {
        let stop = Stop::default();
        let show = self.progress.of(&task.session_id, &task.task_id);
        let workspace = Arc::clone(&self.workspace);
        let context = ToolContext::new(workspace, task.deadline_ms, stop.clone(), Some(show))
            .confined_by(Arc::clone(&self.sandbox));
        let run: BoxFuture<'_, Verdict> = match tree {
            None => tool.run(task, &context),
            Some(named) => Box::pin(self.run_in_tree(tool, task, named, &context)),
        };
        let mut run = AssertUnwindSafe(run).catch_unwind();
        // A tool that has its answer at once needs nobody who could end it.
        match futures::poll!(&mut run) {
            Poll::Ready(verdict) => (Some(verdict.unwrap_or_else(panicked)), None),
            Poll::Pending => {
                let deadline = context.deadline();
                Box::pin(self.attend(run, task, &stop, deadline, lease)).await
            }
        }
    }

    /// Waits for a tool that has begun, and stops it when it must end before it is done.
    async fn attend(
        &self,
        mut run: impl Future<Output = Result<Verdict, Box<dyn Any + Send>>> + Unpin,
        task: &ExternalTask,
        stop: &Stop,
        deadline: Instant,
        lease: &Lease<'_>,
    ) -> (Option<Verdict>, Option<StopReason>) {
        // A marker that came since the task was looked at is seen here.
        let mut interest = self.cancels.interest(&task.session_id, &task.task_id);
        self.steps.at(Step::Started, &task.task_id);
        let reason = tokio::select! {
            biased;
            verdict = &mut run => return (Some(verdict.unwrap_or_else(panicked)), None),
            reason = self.stop_reason(&mut interest, lease) => reason,
            () = sleep_until(deadline) => StopReason::Deadline,
            reason = policy_time(self.sandbox.policy()) => reason,
        };
        stop.tell(reason);
        let verdict = timeout(STOP_GRACE, run).await.ok();
        let verdict = verdict.map(|verdict| verdict.unwrap_or_else(panicked));
        (verdict, Some(reason))
    }

    /// The verdict, unless the policy allows no such long result.
    fn measured(&self, tool: &dyn Tool, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Done(result) if !tool.counts_output() => {
                match self.sandbox.policy().allow_result(&result.result) {
                    Ok(()) => Verdict::Done(result),
                    Err(refusal) => Verdict::Done(answers::not_allowed(&refusal)),
                }
            }
            verdict => verdict,
        }
    }

    /// Runs a tool in the tree that its task names. Nothing of the tool begins before the tree is
    /// there, so when it cannot be had, another attempt does no harm.
    async fn run_in_tree(
        &self,
        tool: &dyn Tool,
        task: &ExternalTask,
        named: &str,
        context: &ToolContext,
    ) -> Verdict {
        let reads_only = may_share(task.lane, tool.starts_programs());
        let checkout = match self.checkouts.get(named, reads_only).await {
            Ok(checkout) => checkout,
            Err(error) => return error.verdict(),
        };
        let inside = context.in_workspace(Arc::clone(&checkout.workspace));
        if context.is_stopped() {
            return Verdict::Retry("the task was stopped before its tool began".to_owned());
        }
        let verdict = tool.run(task, &inside).await;
        if context.is_stopped() {
            return verdict;
        }
        checkout
            .finish(&self.broker, &self.worker_id, verdict)
            .await
    }

    async fn stop_reason(&self, interest: &mut Interest, lease: &Lease<'_>) -> StopReason {
        let mut stop_now = self.stop_now.clone();
        tokio::select! {
            () = lease.keep() => StopReason::LeaseLost,
            () = interest.cancelled() => StopReason::Cancelled,
            Ok(_) = stop_now.wait_for(|now| *now) => StopReason::Shutdown,
        }
    }

    /// An event of a task, with what is always known.
    pub(crate) fn event(&self, kind: EventKind, task: &ExternalTask) -> Event {
        Event {
            task_id: Some(task.task_id.clone()),
            lane: Some(task.lane),
            command_type: Some(task.command_type.clone()),
            worker_id: Some(self.worker_id.clone()),
            ..Event::of_session(kind, task.session_id.clone(), clock::now_ms())
        }
    }
}

/// Resolves when an attempt has had the time that the policy allows; never without such a limit.
async fn policy_time(policy: &Policy) -> StopReason {
    match policy.limits.time {
        Some(most) => {
            sleep(most).await;
            StopReason::PolicyTime(most)
        }
        None => std::future::pending().await,
    }
}

fn partial(verdict: Option<Verdict>) -> Value {
    match verdict {
        Some(Verdict::Done(result)) => result.result,
        _ => json!({}),
    }
}

fn panicked(_payload: Box<dyn Any + Send>) -> Verdict {
    Verdict::Done(ToolResult {
        success: false,
        result: json!({}),
        error: Some("the tool panicked; the worker's log has the message".to_owned()),
        error_kind: Some(ErrorKind::Other),
    })
}
