//! One call of the agent on its way to workers and back.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use a3s_code_core::AgentSession;
use a3s_code_core::queue::{ExternalTask, ExternalTaskResult};
use a3s_coordinator::{Session, Task, TaskHandle};
use a3s_shared::broker;
use futures::future::join_all;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::answer::{self, End};
use crate::gate::{Place, Places};
use crate::lanes::{Handlers, on_the_wire};
use crate::request::{Request, requests};
use crate::tally::Tally;

/// How much longer than a lane's timeout the agent waits for an answer: a worker has to kill what
/// runs and send what it printed; when the worker is gone the coordinator answers 2 s later, and when
/// the broker is gone it gives up 5 s after that. A call whose time is over before it is answered
/// would be done again by the agent's queue.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

/// How long a cancelled task has to end, when the broker is there. A worker that cannot be told is
/// stopped by the task's deadline.
const END_WITHIN: Duration = Duration::from_secs(10);

/// How often it is looked whether a worker serves a lane, beside every change of the fleet.
const LOOK_FOR_WORKERS: Duration = Duration::from_millis(100);

/// What all errands of a session share.
#[derive(Debug)]
pub(crate) struct Link {
    /// Weak: the agent's host decides how long the agent's session lives.
    pub(crate) agent: Weak<AgentSession>,
    pub(crate) workspace: PathBuf,
    pub(crate) session: Session,
    pub(crate) workers: broker::Fleet,
    pub(crate) handlers: Handlers,
    pub(crate) places: Places,
    pub(crate) patience: Duration,
    /// In every task's id: the agent's queue counts from 1 again in each session object.
    pub(crate) nonce: String,
    pub(crate) tally: Tally,
    /// The agent may have something to do.
    pub(crate) wake: Notify,
}

/// What is to be done, and until when.
struct Work {
    call: ExternalTask,
    id: String,
    requests: Vec<Request>,
    until: Instant,
}

/// Carries a call to workers and its answer back. When `cancel` says that nobody waits for it any
/// more, whoever runs it is told so.
pub(crate) async fn run(link: Arc<Link>, call: ExternalTask, cancel: CancellationToken) {
    link.tally.count(|stats| stats.calls += 1);
    let task_id = call.task_id.clone();
    let answer = match link.prepare(call, &cancel).await {
        // Nothing of it may start any more.
        Ok(work) if cancel.is_cancelled() => answer::abandoned(&work.call.command_type),
        Ok(work) => match link.carry(&work, &cancel).await {
            Some(answer) => answer,
            // It was told already.
            None => return,
        },
        Err(answer) => answer,
    };
    link.complete(&task_id, answer).await;
}

impl Link {
    /// Everything that can be said without a worker.
    async fn prepare(
        &self,
        call: ExternalTask,
        cancel: &CancellationToken,
    ) -> Result<Work, ExternalTaskResult> {
        let id = self.broker_id(&call.task_id);
        let tool = call.command_type.as_str();
        let refuse = |sentence: String| {
            self.tally.count(|stats| stats.refused += 1);
            self.tally.without_result(&id, tool, &sentence);
            answer::refused(&sentence)
        };
        if self.places.of(tool) == Place::Nowhere {
            return Err(refuse(format!(
                "{tool} is done by no worker, and not in this process while its lane is External"
            )));
        }
        let requests = requests(tool, &call.payload, &self.workspace).map_err(refuse)?;
        let until = Instant::now() + self.time_left(&call);
        if let Err(sentence) = self.wait_for_worker(&call, until, cancel).await {
            self.tally.count(|stats| stats.unserved += 1);
            self.tally.without_result(&id, tool, &sentence);
            return Err(answer::failed(tool, sentence));
        }
        Ok(Work {
            call,
            id,
            requests,
            until,
        })
    }

    /// What is left of the lane's timeout. What the agent waits is longer, by the grace.
    fn time_left(&self, call: &ExternalTask) -> Duration {
        let configured = self.handlers.get(call.lane).timeout_ms.min(call.timeout_ms);
        let gone = call.timeout_ms.saturating_sub(call.remaining_ms());
        Duration::from_millis(configured.saturating_sub(gone).max(1))
    }

    /// An id of the call at the broker: the end of the agent's own, for people, behind the nonce.
    fn broker_id(&self, task_id: &str) -> String {
        let number = task_id.rsplit('-').next().unwrap_or_default();
        let clean: String = number
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(20)
            .collect();
        format!("{}-{clean}", self.nonce)
    }

    /// Waits until a worker serves the call's lane.
    async fn wait_for_worker(
        &self,
        call: &ExternalTask,
        until: Instant,
        cancel: &CancellationToken,
    ) -> Result<(), String> {
        let lane = on_the_wire(call.lane);
        let until = until.min(Instant::now() + self.patience);
        let mut workers = self.workers.clone();
        while let Some(sentence) = self.session.unserved(lane) {
            if Instant::now() >= until || cancel.is_cancelled() {
                return Err(sentence);
            }
            let _ = timeout(LOOK_FOR_WORKERS, workers.changed()).await;
        }
        Ok(())
    }

    /// Submits the work and waits for its end. None when nobody waits for the answer any more.
    async fn carry(&self, work: &Work, cancel: &CancellationToken) -> Option<ExternalTaskResult> {
        let submitted = join_all((0..work.requests.len()).map(|n| self.submit(work, n))).await;
        let ids: Vec<String> = submitted
            .iter()
            .flatten()
            .map(|handle| handle.task_id().to_owned())
            .collect();
        let told = AtomicUsize::new(0);
        let ends = submitted.into_iter();
        let ends = join_all(ends.map(|handle| self.end(work, handle, &told)));
        tokio::pin!(ends);
        let ends = tokio::select! {
            ends = &mut ends => ends,
            () = cancel.cancelled() => {
                // First, for it holds a place in the agent's lane.
                let gone = answer::abandoned(&work.call.command_type);
                self.complete(&work.call.task_id, gone).await;
                let ending = async {
                    join_all(ids.iter().map(|id| self.cancel(id))).await;
                    ends.await
                };
                if timeout(END_WITHIN, ending).await.is_err() {
                    let untold = ids.len().saturating_sub(told.load(Ordering::Relaxed));
                    self.tally.count(|stats| stats.lost += untold as u64);
                }
                return None;
            }
        };
        Some(self.answer(work, ends))
    }

    async fn submit(&self, work: &Work, n: usize) -> Result<TaskHandle, String> {
        let (call, request) = (&work.call, &work.requests[n]);
        let id = match request.title {
            Some(_) => format!("{}-{n}", work.id),
            None => work.id.clone(),
        };
        let left = work.until.saturating_duration_since(Instant::now());
        let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        let task = Task::new(&call.command_type, request.payload.clone())
            .id(id.as_str())
            .timeout_ms(left);
        let handle = self.session.submit(on_the_wire(call.lane), task).await;
        match handle {
            Ok(handle) => {
                self.tally.count(|stats| stats.submitted += 1);
                Ok(handle)
            }
            Err(error) => {
                let sentence = format!("this {} did not run: {error}", call.command_type);
                self.tally
                    .without_result(&id, &call.command_type, &sentence);
                Err(sentence)
            }
        }
    }

    /// Waits for a task's end, and counts it in `told`.
    async fn end(
        &self,
        work: &Work,
        handle: Result<TaskHandle, String>,
        told: &AtomicUsize,
    ) -> End {
        let handle = handle?;
        let (id, tool) = (handle.task_id().to_owned(), &work.call.command_type);
        let end = handle.await;
        told.fetch_add(1, Ordering::Relaxed);
        match end {
            Ok(result) => {
                self.tally.ended(&result);
                Ok(result)
            }
            Err(error) => {
                let sentence = answer::no_result(tool, &error);
                self.tally.count(|stats| stats.lost += 1);
                self.tally.without_result(&id, tool, &sentence);
                Err(sentence)
            }
        }
    }

    fn answer(&self, work: &Work, ends: Vec<End>) -> ExternalTaskResult {
        let tool = &work.call.command_type;
        let titles: Option<Vec<String>> = work
            .requests
            .iter()
            .map(|request| request.title.clone())
            .collect();
        let max_output = work.call.payload["max_output_bytes"].as_u64();
        let max_output = max_output.and_then(|max| usize::try_from(max).ok());
        match titles {
            Some(titles) => answer::many(tool, max_output, titles.into_iter().zip(ends).collect()),
            None => ends.into_iter().next().map_or_else(
                || answer::failed(tool, "nothing was asked"),
                |end| answer::one(tool, end),
            ),
        }
    }

    async fn cancel(&self, id: &str) {
        if let Err(error) = self.session.cancel(id).await {
            tracing::warn!(task.id = id, %error, "a worker was not told that nobody waits");
        }
    }

    async fn complete(&self, task_id: &str, answer: ExternalTaskResult) {
        let taken = match self.agent.upgrade() {
            Some(agent) => agent.complete_external_task(task_id, answer).await,
            None => false,
        };
        self.tally.count(|stats| {
            *if taken {
                &mut stats.answered
            } else {
                &mut stats.late
            } += 1;
        });
    }
}

/// A pause that ends early when somebody says that there is something to do.
pub(crate) async fn pause(wake: &Notify, time: Duration) {
    tokio::select! {
        () = wake.notified() => {}
        () = sleep(time) => {}
    }
}
