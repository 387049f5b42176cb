//! What waits and what runs in a session, and what starts next. No I/O: it is told the time, and
//! answers with what to do. Behind one lock, which is held for short and never across an await.

use a3s_shared::broker::Backlog;
use a3s_shared::protocol::{LaneHandlerConfig, SessionLane};
use foldhash::HashMap;
use futures::channel::mpsc;
use tokio::time::Instant;

use super::host::HostTasks;
use super::job::{ExternalHandler, How, Job, Signal};
use crate::alerts::{Alert, DepthAlerts};
use crate::allowance::{Allowance, Pause};
use crate::config::Plan;
use crate::metrics::{Metrics, MetricsSnapshot};
use crate::scheduler::{Edge, Scheduler, Ticket, Waiting};
use crate::stats::{LaneStatus, SessionQueueStats};

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
    /// When the next alarm rings; None when none is set.
    alarm: Option<Instant>,
}

/// A task without an outcome.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) lane: SessionLane,
    pub(super) external: bool,
    /// Whether it was given to the broker: it counts what is queued there.
    pub(super) published: bool,
    /// In the broker's time, milliseconds since 1970.
    pub(super) deadline_ms: u64,
    /// In the broker's time too.
    pub(super) submitted_ms: u64,
    /// Where it waits; None once it has started.
    pub(super) ticket: Option<Ticket>,
    pub(super) signals: mpsc::Sender<Signal>,
}

/// What is to be done now.
#[expect(clippy::vec_box, reason = "a job goes on in its box")]
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Tasks to start.
    pub(super) start: Vec<Box<Job>>,
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
        let mut next = None;
        match self.start_what_may(now, &mut due.start) {
            Some(Pause::Ask(wanted)) => due.ask = Some(wanted),
            Some(Pause::Until(at)) => next = Some(at),
            Some(Pause::Asked) | None => {}
        }
        due.alarm = self.next_alarm(next);
        self.observe(&mut due);
        due
    }

    /// Starts tasks until none may start; says what the rate limit waits for, if it is that.
    #[expect(clippy::vec_box, reason = "a job goes on in its box")]
    fn start_what_may(&mut self, now: Instant, start: &mut Vec<Box<Job>>) -> Option<Pause> {
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
            if let Some(entry) = self.outstanding.get_mut(&job.task.task_id) {
                entry.ticket = None;
            }
            if let Some(metrics) = &mut self.metrics {
                metrics.started(lane, now.saturating_duration_since(job.submitted));
            }
            start.push(job);
        }
        None
    }

    /// An alarm to set, unless one rings early enough.
    fn next_alarm(&mut self, pause: Option<Instant>) -> Option<Instant> {
        let next = self
            .scheduler
            .next_deadline()
            .into_iter()
            .chain(pause)
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

    /// Tells a task something; `false` when there is no such task.
    pub(super) fn signal(&mut self, task_id: &str, signal: Signal) -> bool {
        let Some(entry) = self.outstanding.get_mut(task_id) else {
            return false;
        };
        let sent = entry.signals.try_send(signal);
        sent.is_ok() || sent.is_err_and(|error| error.is_full())
    }

    /// How a task that is submitted to `lane` now is handled.
    pub(super) fn how(&self, lane: SessionLane) -> How {
        let mode = self.handlers[lane.index()].mode;
        How::of(mode, self.external_handler.as_ref())
    }
}
