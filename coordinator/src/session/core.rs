//! A session's heart: starts what may start, and tells how each task ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use a3s_shared::broker::Accepted;
use a3s_shared::protocol::{Encoding, Route, SessionLane, TaskResult};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::{Duration, Instant, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::job::{How, Job, Signal};
use super::outstanding::{Listener, Told};
use super::reports::{Reports, Scope};
use super::state::{Due, State};
use super::{external, host, local, tokens};
use crate::config::Plan;
use crate::coordinator::Hub;
use crate::error::TaskError;
use crate::handle::Answer;
use crate::metrics::Count;
use crate::stats::SessionQueueStats;

/// What a session is made of. Shared by its handles and by its running tasks.
pub(crate) struct Core {
    pub(super) hub: Arc<Hub>,
    pub(crate) id: String,
    pub(super) route: Route,
    pub(super) encoding: Encoding,
    pub(super) plan: Plan,
    pub(super) follow_fleet: bool,
    pub(super) grace: Duration,
    pub(super) state: Mutex<State>,
    pub(super) reports: Reports,
    /// Room for waiting tasks, by lane.
    pub(super) room: [Arc<Semaphore>; 4],
    /// How many tasks have no outcome. Written with the state's lock held.
    pub(super) outstanding: watch::Sender<usize>,
    /// The newest revision of the session's record that is known here.
    pub(super) revision: AtomicU64,
    pub(super) closed: OnceCell<()>,
    /// The session's two listeners; the second one only if somebody subscribed.
    pub(super) results: Mutex<Option<AbortOnDropHandle<()>>>,
    pub(super) workers: OnceCell<Option<AbortOnDropHandle<()>>>,
}

/// How long the broker may take to say what it has, before its word is done without.
const STATS_WITHIN: Duration = Duration::from_secs(2);

/// How a started task left the hands of who ran it.
pub(super) enum End {
    /// For good. `told` says that somebody else has told the world already.
    Over { answer: Answer, told: bool },
    /// For good, and its slot is free already.
    Idle(TaskResult),
    /// It is to be tried again; its slot is free already.
    Again,
}

impl Core {
    /// Starts what may start now, and settles what has expired.
    pub(super) fn pump(self: &Arc<Self>) {
        let due = self.state.lock().due(Instant::now());
        self.perform(due);
    }

    /// The alarm rang.
    pub(crate) fn wake(self: &Arc<Self>) {
        self.state.lock().alarm_rang();
        self.pump();
    }

    pub(super) fn perform(self: &Arc<Self>, due: Due) {
        if let Some(at) = due.alarm {
            self.hub.alarms.set(at, Arc::downgrade(self));
        }
        if let Some(wanted) = due.ask {
            tokio::spawn(tokens::fetch(Arc::clone(self), wanted));
        }
        for (lane, edge) in due.edges {
            self.tell_edge(lane, edge);
        }
        for (lane, alert) in due.alerts {
            self.tell_alert(lane, alert);
        }
        for job in due.expired {
            let result = job.timed_out("before it could start");
            self.settle(job, Ok(result), false);
        }
        for task in due.send {
            let core = Arc::downgrade(self);
            self.hub.broker.post(task, move |id, accepted| {
                if let Some(core) = core.upgrade() {
                    core.sent(id, accepted);
                }
            });
        }
        for job in due.start {
            // Boxed, because the runtime moves a future several times before and after it runs.
            tokio::spawn(Box::pin(run(Arc::clone(self), job)));
        }
        for job in due.woken {
            self.resume(job);
        }
    }

    /// A task that was sent has the broker's word, or none. Whoever is woken sends it again, under the
    /// same id, and hears what is wrong.
    fn sent(self: &Arc<Self>, id: &str, accepted: Option<Accepted>) {
        let woken = {
            let mut state = self.state.lock();
            // Its result may have been faster, or something has woken it.
            let Some(entry) = state.outstanding.get_mut(id) else {
                return;
            };
            let Listener::InFlight { job, .. } = &mut entry.listener else {
                return;
            };
            let first = accepted
                .as_ref()
                .is_some_and(|accepted| !accepted.duplicate);
            job.accepted = accepted;
            if first {
                self.tell_submitted(job);
                return;
            }
            entry.listener.wake(None)
        };
        if let Some(job) = woken {
            self.resume(job);
        }
    }

    /// Tells a task something; `false` when nobody is left to hear it.
    pub(super) fn signal(self: &Arc<Self>, task_id: &str, signal: Signal) -> bool {
        let told = self.state.lock().tell(task_id, signal);
        match told {
            Told::Heard => true,
            Told::Unheard => false,
            Told::Woken(job) => {
                self.resume(job);
                true
            }
        }
    }

    /// Waits in a future for a task in flight.
    pub(super) fn resume(self: &Arc<Self>, job: Box<Job>) {
        let core = Arc::clone(self);
        tokio::spawn(Box::pin(async move {
            let (job, end) = external::run(&core, job).await;
            core.ended(job, end);
        }));
    }

    /// A task in flight has this result. Gives the result back when it was not in flight.
    pub(super) fn complete_in_flight(self: &Arc<Self>, result: TaskResult) -> Option<TaskResult> {
        let (job, due) = {
            let mut state = self.state.lock();
            let Some(job) = state.take_in_flight(&result.task_id) else {
                return Some(result);
            };
            self.tell_end(&job, &result, true);
            state.count_end(&job, &result);
            self.note_outstanding(state.outstanding.len());
            (job, state.due(Instant::now()))
        };
        // Who submitted it may have stopped waiting.
        let _ = job.answer.send(Ok(result));
        self.perform(due);
        None
    }

    /// A started task ended: its slot is free, its waiter has the answer, the world knows.
    fn finish(self: &Arc<Self>, job: Box<Job>, answer: Answer, told: bool) {
        self.release(&job);
        self.settle(job, answer, told);
        self.pump();
    }

    /// Gives back what a started task holds.
    pub(super) fn release(&self, job: &Job) {
        self.state
            .lock()
            .scheduler
            .finish(job.task.lane, job.holds_slot);
    }

    /// Frees a started task's slot for others while it waits for its next attempt.
    pub(super) fn pause_slot(self: &Arc<Self>, job: &Job) {
        self.release(job);
        self.pump();
    }

    /// Tells how a task that holds no slot ended.
    pub(super) fn settle(&self, job: Box<Job>, answer: Answer, told: bool) {
        if let Ok(result) = &answer {
            self.tell_end(&job, result, told);
        }
        {
            let mut state = self.state.lock();
            state.outstanding.remove(&job.task.task_id);
            if let Ok(result) = &answer {
                state.count_end(&job, result);
            }
            self.note_outstanding(state.outstanding.len());
        }
        // Who submitted it may have stopped waiting.
        let _ = job.answer.send(answer);
    }

    /// Notes how many tasks have no outcome. Who waits for that waits for none to be left, and is
    /// woken only then.
    pub(super) fn note_outstanding(&self, now: usize) {
        self.outstanding.send_if_modified(|left| {
            *left = now;
            now == 0
        });
    }

    /// Where a task's events are heard, when nobody else tells them.
    pub(super) fn scope(how: &How) -> Scope {
        match how {
            How::Internal => Scope::Here,
            How::Hybrid | How::Callback(_) | How::External => Scope::World,
        }
    }
}

/// Runs a task that has left the queue, to its end.
async fn run(core: Arc<Core>, mut job: Box<Job>) {
    core.listen(&mut job);
    let to_host = matches!(job.how, How::External) && core.state.lock().host.is_pulling();
    let (job, end) = match job.how {
        // Boxed, so that a task that goes to a worker does not carry their size about.
        How::Internal | How::Hybrid | How::Callback(_) => Box::pin(local::run(&core, job)).await,
        How::External if to_host => Box::pin(host::run(&core, job)).await,
        How::External => {
            core.note_published(&job);
            external::run(&core, job).await
        }
    };
    core.ended(job, end);
}

impl Core {
    /// What a task is told goes to the future that runs it.
    fn listen(&self, job: &mut Job) {
        if job.signals.is_none()
            && let Some(entry) = self.state.lock().outstanding.get_mut(&job.task.task_id)
        {
            job.signals = Some(entry.listener.listen());
        }
    }

    /// A future has run a task.
    fn ended(self: &Arc<Self>, job: Box<Job>, end: End) {
        match end {
            End::Over { answer, told } => self.finish(job, answer, told),
            End::Idle(result) => self.settle(job, Ok(result), false),
            End::Again => self.again(job),
        }
    }

    /// Puts a task back at the end of its lane.
    fn again(self: &Arc<Self>, job: Box<Job>) {
        let refused = self.state.lock().enqueue(job);
        if let Some(job) = refused {
            let answer = Err(self.closed_before(&job));
            self.settle(job, answer, false);
        }
        self.pump();
    }

    /// The task is the broker's from now on.
    fn note_published(&self, job: &Job) {
        if let Some(entry) = self.state.lock().outstanding.get_mut(&job.task.task_id) {
            entry.published = true;
        }
    }

    /// The stored result of a task of `lane` was not believed.
    pub(super) fn note_refused(&self, lane: SessionLane) {
        if let Some(metrics) = &mut self.state.lock().metrics {
            metrics.count(lane, Count::Refused, 1);
        }
    }

    /// What waits and runs, after asking the broker, for a moment at most.
    pub(super) async fn stats(&self) -> SessionQueueStats {
        let asked = self.hub.broker.backlog(&self.id, &self.route);
        let backlog = match timeout(STATS_WITHIN, asked).await {
            Ok(Ok(backlog)) => Some(backlog),
            Ok(Err(error)) => {
                tracing::debug!(session.id = self.id, %error, "the broker's count is unknown");
                None
            }
            Err(_) => None,
        };
        self.state.lock().stats(backlog)
    }

    /// Why a task of a closed session has no result.
    pub(super) fn closed_before(&self, job: &Job) -> TaskError {
        TaskError::Closed {
            task_id: job.task.task_id.clone(),
            session: self.id.clone(),
        }
    }
}

impl End {
    /// The task has this result, and nobody was told.
    pub(super) fn with(result: TaskResult) -> Self {
        Self::Over {
            answer: Ok(result),
            told: false,
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("route", &self.route)
            .finish()
    }
}
