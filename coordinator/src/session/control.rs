//! Wishes that reach a session from outside: cancel a task, pause, resume, follow the fleet, and
//! what other processes write into the session's record.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use a3s_shared::protocol::{
    CancelMarker, Presence, SessionLane, SessionRecord, SessionState, clock,
};

use super::core::Core;
use super::job::Signal;
use super::record;
use crate::error::Error;

impl Core {
    /// Ends a task, wherever it is. Whether this process waited for it when the wish was uttered.
    pub(crate) async fn cancel(self: &Arc<Self>, id: &str, reason: &str) -> Result<bool, Error> {
        let (waiting, published) = {
            let mut state = self.state.lock();
            match state
                .outstanding
                .get(id)
                .map(|task| (task.ticket, task.deadline_ms))
            {
                None => (None, Some((false, clock::now_ms()))),
                Some((Some(ticket), _)) => (state.scheduler.remove(ticket), None),
                Some((None, deadline_ms)) => (None, Some((true, deadline_ms))),
            }
        };
        if let Some(job) = waiting {
            let result = job.cancelled(reason.to_owned());
            self.settle(job, Ok(result), false);
            self.pump();
            return Ok(true);
        }
        let Some((ours, deadline_ms)) = published else {
            return Ok(true);
        };
        // Durable first: when this fails, the caller must know that the task may go on.
        let external = self
            .state
            .lock()
            .outstanding
            .get(id)
            .is_none_or(|task| task.external);
        if external {
            let marker = CancelMarker {
                reason: reason.to_owned(),
                at_ms: clock::now_ms(),
            };
            self.hub
                .broker
                .cancel(&self.id, id, &marker, deadline_ms)
                .await?;
        }
        // The answer may have come while the marker was on its way; the wish was in time all the same.
        self.signal(id, Signal::Cancel(reason.to_owned()));
        Ok(ours)
    }

    /// Somebody has marked a task as cancelled at the broker. Workers obey by themselves; what
    /// still waits here, or runs here, only we can end.
    pub(crate) fn heard_cancel(self: &Arc<Self>, id: &str, reason: &str) {
        let waiting = {
            let mut state = self.state.lock();
            match state.outstanding.get(id).map(|task| task.ticket) {
                None => return,
                Some(Some(ticket)) => state.scheduler.remove(ticket),
                Some(None) => None,
            }
        };
        if let Some(job) = waiting {
            let result = job.cancelled(reason.to_owned());
            self.settle(job, Ok(result), false);
            self.pump();
        } else {
            self.signal(id, Signal::Cancel(reason.to_owned()));
        }
    }

    /// Cancels what was submitted before `before_ms` and has no outcome here.
    fn cancel_older(self: &Arc<Self>, before_ms: u64) {
        let older: Vec<String> = {
            let state = self.state.lock();
            let tasks = state.outstanding.iter();
            tasks
                .filter(|(_, task)| task.submitted_ms < before_ms)
                .map(|(id, _)| id.clone())
                .collect()
        };
        for id in older {
            self.heard_cancel(&id, "cancelled with its session");
        }
    }

    /// Stops or resumes starting tasks, here and in the session's record.
    pub(super) async fn set_paused(self: &Arc<Self>, paused: bool) -> Result<(), Error> {
        self.state.lock().scheduler.set_paused(paused);
        self.pump();
        let state = if paused {
            SessionState::Paused
        } else {
            SessionState::Open
        };
        self.write_state(state).await
    }

    /// Writes the session's state into its record.
    pub(super) async fn write_state(&self, state: SessionState) -> Result<(), Error> {
        if let Some(revision) = record::set_state(&self.hub.broker, &self.id, state).await? {
            self.revision.fetch_max(revision, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Does what the session's record says: another process may have paused, resumed or ended the
    /// session, or given a lane another handler. What this process wrote itself comes back too,
    /// and is passed over.
    pub(crate) fn follow_record(self: &Arc<Self>, record: &SessionRecord, revision: u64) {
        if self.revision.fetch_max(revision, Ordering::SeqCst) >= revision {
            return;
        }
        {
            let mut state = self.state.lock();
            state
                .scheduler
                .set_paused(record.state == SessionState::Paused);
            for lane in SessionLane::ALL {
                if let Some(handler) = record.lanes.get(lane.id()) {
                    state.handlers[lane.index()] = *handler;
                }
            }
        }
        self.cancel_older(record.cancelled_before_ms);
        self.pump();
        if record.state == SessionState::Closed {
            let core = Arc::clone(self);
            tokio::spawn(async move { core.close().await });
        }
    }

    /// The session's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Sets the lanes' caps to the slots of the workers that serve them, where that is wanted.
    pub(crate) fn follow(self: &Arc<Self>, workers: &[Presence]) {
        if !self.follow_fleet {
            return;
        }
        {
            let mut state = self.state.lock();
            for lane in SessionLane::ALL {
                let serving = workers
                    .iter()
                    .filter(|w| w.takes(&self.id, &self.route, lane));
                let slots: usize = serving.map(|worker| worker.slots).sum();
                state.scheduler.set_cap(lane, slots.max(1));
            }
        }
        self.pump();
    }
}
