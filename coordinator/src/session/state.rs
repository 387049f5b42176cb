//! What waits and what runs in a session, and what starts next. No I/O: it is told the time, and
//! answers with what to do. Behind one lock, which is held for short and never across an await.

use std::time::Duration;

use a3s_shared::broker::{Backlog, PreparedTask};
use a3s_shared::protocol::{LaneHandlerConfig, SessionLane, TaskResult};
use foldhash::HashMap;
use tokio::time::Instant;

use super::external::{DEADLINE_GRACE, LOOK_EVERY};
use super::host::HostTasks;
use super::job::{ExternalHandler, How, Job, Signal};
use super::outstanding::{Listener, Outstanding, Told};
use crate::alerts::{Alert, DepthAlerts};
use crate::allowance::{Allowance, Pause};
use crate::config::Plan;
use crate::metrics::{Count, Metrics, MetricsSnapshot};
use crate::scheduler::{Edge, Scheduler, Waiting};
use crate::stats::{LaneStatus, SessionQueueStats};

/// How far apart those in flight are looked through. Each time costs a look at all of them.
const SWEEPS_APART: Duration = Duration::from_millis(50);

/// The changing part of a session.
pub(super) struct State {
    pub(super) scheduler: Scheduler<Box<Job>>,
    /// All tasks without an outcome, by id.
    pub(super) outstanding: HashMap<String, Outstanding>,
    pub(super) handlers: [LaneHandlerConfig; 4],
    pub(super) external_handler: Option<ExternalHandler>,
    pub(super) host: HostTasks,
    pub(super) metrics: Option<Metrics>,
    alerts: Option<DepthAlerts>,
    pub(super) allowance: Option<Allowance>,
    /// When the first one of those in flight is to be woken.
    sweep_at: Option<Instant>,
    /// When the next alarm rings; None when none is set.
    alarm: Option<Instant>,
}

/// What is to be done now.
#[expect(clippy::vec_box, reason = "a job goes on in its box")]
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Tasks to run in a future.
    pub(super) start: Vec<Box<Job>>,
    /// Tasks to send to a worker. They are in flight already.
    pub(super) send: Vec<PreparedTask>,
    /// Tasks that were in flight for too long, to go on in a future.
    pub(super) woken: Vec<Box<Job>>,
    /// Tasks whose time was over before they started.
    pub(super) expired: Vec<Box<Job>>,
    /// When to ask again, if nothing happens before.
    pub(super) alarm: Option<Instant>,
    /// So many tokens of the rate limit to ask the broker for.
    pub(super) ask: Option<u64>,
    /// Lanes that came under pressure, or out of it.
    pub(super) edges: Vec<(SessionLane, Edge)>,
    /// Alerts to raise.
    pub(super) alerts: Vec<(SessionLane, Alert)>,
}

impl State {
    /// An empty session.
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            scheduler: Scheduler::new(plan.caps, plan.boost, plan.pressure),
            outstanding: HashMap::default(),
            handlers: plan.handlers,
            external_handler: None,
            host: HostTasks::default(),
            metrics: plan.metrics.then(Metrics::new),
            alerts: plan.alerts.then(DepthAlerts::default),
            allowance: plan.rate.map(|limit| Allowance::new(limit.most_ahead())),
            sweep_at: None,
            alarm: None,
        }
    }

    /// Puts a job at the end of its lane; it is given back when the session is closed.
    #[must_use]
    pub(super) fn enqueue(&mut self, job: Box<Job>) -> Option<Box<Job>> {
        if self.scheduler.is_closed() {
            return Some(job);
        }
        let (lane, id) = (job.task.lane, job.task.task_id.clone());
        let waiting = Waiting {
            submitted: job.submitted,
            deadline: job.deadline,
            holds_slot: job.holds_slot,
            item: job,
        };
        let ticket = self.scheduler.push(lane, waiting).ok();
        if let Some(entry) = self.outstanding.get_mut(&id) {
            entry.ticket = ticket;
        }
        None
    }

    /// Everything that is to be done at `now`.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let mut due = Due::default();
        self.observe(&mut due);
        due.expired = self.scheduler.expire(now);
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.sweep(now, &mut due.woken);
        }
        let mut next = None;
        match self.start_what_may(now, &mut due) {
            Some(Pause::Ask(wanted)) => due.ask = Some(wanted),
            Some(Pause::Until(at)) => next = Some(at),
            Some(Pause::Asked) | None => {}
        }
        due.alarm = self.next_alarm(next);
        self.observe(&mut due);
        due
    }

    /// Starts tasks until none may start; says what the rate limit waits for, if it is that.
    fn start_what_may(&mut self, now: Instant, due: &mut Due) -> Option<Pause> {
        while self.scheduler.ready(now).is_some() {
            if let Some(allowance) = &mut self.allowance
                && let Err(pause) = allowance.take(now)
            {
                return Some(pause);
            }
            let Some((lane, waiting)) = self.scheduler.next(now) else {
                break;
            };
            let job = waiting.item;
            if let Some(metrics) = &mut self.metrics {
                metrics.started(lane, now.saturating_duration_since(job.submitted));
            }
            self.start(job, now, due);
        }
        None
    }

    fn start(&mut self, mut job: Box<Job>, now: Instant, due: &mut Due) {
        job.room = None;
        let to_host = self.host.is_pulling();
        let Some(entry) = self.outstanding.get_mut(&job.task.task_id) else {
            return due.start.push(job);
        };
        entry.ticket = None;
        match job.prepared.take() {
            Some(prepared) if !to_host && entry.listener.has_heard_nothing() => {
                let until = (job.deadline + DEADLINE_GRACE).min(now + LOOK_EVERY);
                self.sweep_at = Some(self.sweep_at.map_or(until, |at| at.min(until)));
                entry.published = true;
                entry.listener = Listener::InFlight { job, until };
                due.send.push(prepared);
            }
            _ => due.start.push(job),
        }
    }

    /// Wakes the tasks that are in flight for too long.
    #[expect(clippy::vec_box, reason = "a job goes on in its box")]
    fn sweep(&mut self, now: Instant, woken: &mut Vec<Box<Job>>) {
        let mut next: Option<Instant> = None;
        for entry in self.outstanding.values_mut() {
            let Listener::InFlight { job, until } = &entry.listener else {
                continue;
            };
            if *until > now {
                next = Some(next.map_or(*until, |at| at.min(*until)));
                continue;
            }
            // One that has no time left is settled at once.
            let look = (job.deadline + DEADLINE_GRACE > now).then_some(Signal::Look);
            woken.extend(entry.listener.wake(look));
        }
        self.sweep_at = next.map(|at| at.max(now + SWEEPS_APART));
    }

    /// An alarm to set, unless one rings early enough.
    fn next_alarm(&mut self, pause: Option<Instant>) -> Option<Instant> {
        let next = self
            .scheduler
            .next_deadline()
            .into_iter()
            .chain(pause)
            .chain(self.sweep_at)
            .min()?;
        if self.alarm.is_some_and(|alarm| alarm <= next) {
            return None;
        }
        self.alarm = Some(next);
        Some(next)
    }

    /// The alarm rang.
    pub(super) fn alarm_rang(&mut self) {
        self.alarm = None;
    }

    /// Notes depths where somebody wants to know of them.
    fn observe(&mut self, due: &mut Due) {
        for lane in SessionLane::ALL {
            due.edges
                .extend(self.scheduler.edge(lane).map(|edge| (lane, edge)));
            if let Some(alerts) = &mut self.alerts {
                let alert = alerts.observe(lane, self.scheduler.waiting(lane));
                due.alerts.extend(alert.map(|alert| (lane, alert)));
            }
        }
    }

    /// The four lanes now. Without `backlog`, the broker's word, as far as this process knows.
    pub(super) fn stats(&self, backlog: Option<[Backlog; 4]>) -> SessionQueueStats {
        let mut published = [0; 4];
        let mut external = 0;
        for task in self.outstanding.values() {
            published[task.lane.index()] += usize::from(task.published);
            external += usize::from(task.external && !task.published);
        }
        let lanes = SessionLane::ALL.map(|lane| {
            let (ours, backlog) = (
                published[lane.index()],
                backlog.map(|all| all[lane.index()]),
            );
            // What is on its way is not stored yet, and others' tasks are stored: the larger
            // number is the better one.
            let at_broker = ours.max(backlog.map_or(0, |backlog| backlog.stored));
            let here = self.scheduler.active(lane).saturating_sub(ours);
            external += at_broker;
            let with_workers = backlog.and_then(|backlog| backlog.running);
            LaneStatus {
                lane,
                pending: self.scheduler.waiting(lane),
                active: here + at_broker,
                running: with_workers
                    .or((at_broker == 0).then_some(0))
                    .map(|n| n + here),
                max_concurrency: self.scheduler.cap(lane),
                handler_mode: self.handlers[lane.index()].mode,
            }
        });
        SessionQueueStats::of(lanes, external)
    }

    /// The metrics now, where they are kept.
    pub(super) fn metrics_snapshot(&self) -> Option<MetricsSnapshot> {
        let depth = SessionLane::ALL.map(|lane| self.scheduler.waiting(lane));
        let active = SessionLane::ALL.map(|lane| self.scheduler.active(lane));
        self.metrics
            .as_ref()
            .map(|metrics| metrics.snapshot(depth, active))
    }

    /// Tells a task something.
    pub(super) fn tell(&mut self, task_id: &str, signal: Signal) -> Told {
        match self.outstanding.get_mut(task_id) {
            Some(entry) => entry.listener.tell(signal),
            None => Told::Unheard,
        }
    }

    /// Takes out a task in flight: it has an outcome. None when it is not in flight.
    pub(super) fn take_in_flight(&mut self, task_id: &str) -> Option<Box<Job>> {
        let entry = self.outstanding.get(task_id)?;
        if !matches!(entry.listener, Listener::InFlight { .. }) {
            return None;
        }
        let Listener::InFlight { job, .. } = self.outstanding.remove(task_id)?.listener else {
            return None;
        };
        self.scheduler.finish(job.task.lane, job.holds_slot);
        Some(job)
    }

    /// Counts a task that ended.
    pub(super) fn count_end(&mut self, job: &Job, result: &TaskResult) {
        if let Some(metrics) = &mut self.metrics {
            let retries = u64::from(result.attempt.saturating_sub(1));
            metrics.count(job.task.lane, Count::Retried, retries);
            metrics.ended(job.task.lane, result.outcome(), job.submitted.elapsed());
        }
    }

    /// How a task that is submitted to `lane` now is handled.
    pub(super) fn how(&self, lane: SessionLane) -> How {
        let mode = self.handlers[lane.index()].mode;
        How::of(mode, self.external_handler.as_ref())
    }
}
