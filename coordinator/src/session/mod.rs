//! A session: four lanes of tasks that this process submits and whose results it awaits.
//!
//! * `builder`: how a session is opened; `record` is its entry at the broker, `inherited` what
//!   an earlier process left there.
//! * `submit`: the door. `state` holds what waits and what runs, and decides what starts.
//! * `outstanding`: a task without an outcome, and who hears what it is told.
//! * `core`: starts what `state` says, and tells how each task ended.
//! * `external`, `local`, `host`: the three ways a task is run; `bury` keeps what failed for good.
//!   `job` is a task on its way.
//! * `tokens`: the rate limit, taken from the broker, where all processes share it.
//! * `control`: cancel, pause, resume, and what other processes want.
//! * `results`: results from the broker, given to those who wait. `reports`: events.
//! * `close`: the end of it.

mod builder;
mod bury;
mod close;
mod control;
mod core;
mod external;
mod host;
mod inherited;
mod job;
mod local;
mod outstanding;
mod record;
mod reports;
mod results;
mod state;
mod submit;
mod tokens;

use std::sync::Arc;

use a3s_shared::protocol::{
    DeadLetter, Event, ExternalTask, ExternalTaskResult, LaneHandlerConfig, Route, SessionLane,
    TaskResult,
};
use tokio::sync::broadcast;

use crate::alerts::Alert;
use crate::command::SessionCommand;
use crate::error::{Error, SubmitError};
use crate::handle::TaskHandle;
use crate::metrics::MetricsSnapshot;
use crate::stats::SessionQueueStats;
use crate::unserved;

pub(crate) use self::core::Core;
pub use builder::SessionBuilder;
pub use submit::MAX_WAITING;

/// A session. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Session {
    core: Arc<Core>,
}

impl Session {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.core.id
    }

    /// Where its external tasks go.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.core.route
    }

    /// Puts a command at the end of a lane. Returns at once, unless
    /// [`MAX_WAITING`](crate::MAX_WAITING) tasks wait in the lane already: then it waits for
    /// room, at most for the task's timeout.
    ///
    /// The lane's handler is fixed here: a later change does not concern this task.
    ///
    /// # Errors
    /// [`SubmitError`]: the task will never run.
    pub async fn submit(
        &self,
        lane: SessionLane,
        command: impl SessionCommand + 'static,
    ) -> Result<TaskHandle, SubmitError> {
        self.core.submit(lane, Arc::new(command)).await
    }

    /// As [`submit`](Self::submit), to the lane where `tool` belongs.
    ///
    /// # Errors
    /// [`SubmitError`]: the task will never run.
    pub async fn submit_by_tool(
        &self,
        tool: &str,
        command: impl SessionCommand + 'static,
    ) -> Result<TaskHandle, SubmitError> {
        self.submit(SessionLane::from_tool_name(tool), command)
            .await
    }

    /// Changes who handles tasks that are submitted to `lane` from now on. A timeout of 0 counts
    /// as 1 ms.
    pub async fn set_lane_handler(&self, lane: SessionLane, mut config: LaneHandlerConfig) {
        config.timeout_ms = config.timeout_ms.max(1);
        self.core.state.lock().handlers[lane.index()] = config;
    }

    /// Who handles tasks that are submitted to `lane` now.
    pub async fn get_lane_handler(&self, lane: SessionLane) -> LaneHandlerConfig {
        self.core.state.lock().handlers[lane.index()]
    }

    /// Handles external tasks that are submitted from now on in this process, by `handler`: a
    /// worker without a broker. Tasks that were submitted before are not affected.
    pub async fn set_external_task_handler<F, Fut>(&self, handler: F)
    where
        F: Fn(ExternalTask) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ExternalTaskResult> + Send + 'static,
    {
        let handler: job::ExternalHandler = Arc::new(move |task| Box::pin(handler(task)));
        self.core.state.lock().external_handler = Some(handler);
    }

    /// External tasks for this process to run, each given to one caller: it is the caller's
    /// until its lease ends (30 s; to the deadline, for a task that may start once).
    ///
    /// From the first call on, external tasks that have not been given to workers yet are kept
    /// for the host: call it once before submitting to have all of them.
    pub async fn pending_external_tasks(&self) -> Vec<ExternalTask> {
        self.core.lease_to_host()
    }

    /// Gives an external task of [`pending_external_tasks`](Self::pending_external_tasks) its
    /// result. `false` when the task is unknown or has ended.
    pub async fn complete_external_task(&self, task_id: &str, result: ExternalTaskResult) -> bool {
        self.core.complete_from_host(task_id, result)
    }

    /// What waits in this process, and what is queued or runs, as the broker counts it. When the
    /// broker does not answer within 2 s or does not permit it: as this process knows it.
    pub async fn queue_stats(&self) -> SessionQueueStats {
        self.core.stats().await
    }

    /// Counters and latencies; None unless the configuration enables them.
    pub async fn queue_metrics(&self) -> Option<MetricsSnapshot> {
        self.core.state.lock().metrics_snapshot()
    }

    /// The newest dead letters of this session, oldest first; as many as the configuration says.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = self
            .core
            .hub
            .broker
            .dead_letters(Some(&self.core.id))
            .await?;
        let surplus = letters.len().saturating_sub(self.core.plan.dlq_size);
        letters.drain(..surplus);
        Ok(letters)
    }

    /// Everything that happens in this session from now on. A listener that lags behind by more
    /// than 1,024 events misses some.
    pub async fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.core.listen_to_workers().await;
        self.core.reports.events().subscribe()
    }

    /// Alerts from now on; none unless the configuration enables them.
    #[must_use]
    pub fn subscribe_alerts(&self) -> broadcast::Receiver<Alert> {
        self.core.reports.alerts().subscribe()
    }

    /// The result of any task of this session, also of one that was submitted before a restart;
    /// None when it has none yet, or was not external. Results are kept for a day.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn result(&self, task_id: &str) -> Result<Option<TaskResult>, Error> {
        Ok(self.core.hub.broker.result(&self.core.id, task_id).await?)
    }

    /// Asks that a task end, also one of an earlier process: one that waits or is queued never
    /// starts, one that runs is stopped. `false` when this process has no such task; a worker
    /// that has it is told all the same.
    ///
    /// # Errors
    /// When the broker does not confirm it.
    pub async fn cancel(&self, task_id: &str) -> Result<bool, Error> {
        self.core.cancel(task_id, "cancelled by its session").await
    }

    /// Starts no tasks but those of Control until [`resume`](Self::resume); what was started
    /// goes on. Other processes of the session hear of it.
    ///
    /// # Errors
    /// When the broker does not confirm it; this process is paused all the same.
    pub async fn pause(&self) -> Result<(), Error> {
        self.core.set_paused(true).await
    }

    /// Starts tasks again.
    ///
    /// # Errors
    /// When the broker does not confirm it; this process is resumed all the same.
    pub async fn resume(&self) -> Result<(), Error> {
        self.core.set_paused(false).await
    }

    /// Why tasks of `lane` would wait now: nobody present takes them. It names who takes what,
    /// and what to start.
    #[must_use]
    pub fn unserved(&self, lane: SessionLane) -> Option<String> {
        let workers = self.core.hub.fleet.workers();
        unserved::explain(&self.core.id, &self.core.route, lane, &workers)
    }

    /// Takes no more tasks, and settles those that are there: what waits does not start, what
    /// runs has the builder's grace to finish and is then cancelled. When this returns, everyone
    /// who waited has an answer. Takes the grace and a few seconds at most.
    pub async fn close(&self) {
        self.core.close().await;
    }

    /// Takes no more tasks in this process, and leaves the rest as it is: what the broker has goes
    /// on, and its results can be fetched by whoever opens the session next. What waits in this
    /// process was not accepted yet, and is not started. A [`close`](Self::close) after it does
    /// nothing.
    pub async fn leave(&self) {
        self.core.leave().await;
    }
}
