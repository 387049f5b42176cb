//! What waits and what runs in a session, and what starts next. No I/O: it is told the time, and
//! answers with what to do. Behind one lock, which is held for short and never across an await.

use std::collections::HashMap;

use a3s_shared::protocol::{LaneHandlerConfig, SessionLane};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

use super::host::HostTasks;
use super::job::{ExternalHandler, How, Job, Signal};
use crate::alerts::{Alert, DepthAlerts};
use crate::config::Plan;
use crate::metrics::{Metrics, MetricsSnapshot};
use crate::rate::{Bucket, RateLimit};
use crate::scheduler::{Edge, Scheduler, Ticket, Waiting};
use crate::stats::{LaneStatus, SessionQueueStats};

/// The changing part of a session.
pub(super) struct State {
    pub(super) scheduler: Scheduler<Job>,
    /// All tasks without an outcome, by id.
    pub(super) outstanding: HashMap<String, Outstanding>,
    pub(super) handlers: [LaneHandlerConfig; 4],
    pub(super) external_handler: Option<ExternalHandler>,
    pub(super) host: HostTasks,
    pub(super) metrics: Option<Metrics>,
    alerts: Option<DepthAlerts>,
    rate: Option<Rate>,
    /// When the next alarm rings; None when none is set.
    alarm: Option<Instant>,
}

/// A task without an outcome.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) lane: SessionLane,
    pub(super) external: bool,
    /// In the broker's time, milliseconds since 1970.
    pub(super) deadline_ms: u64,
    /// Where it waits; None once it has started.
    pub(super) ticket: Option<Ticket>,
    pub(super) signals: mpsc::Sender<Signal>,
}

/// A rate limit at work. Its clock starts with the session.
#[derive(Debug)]
struct Rate {
    limit: RateLimit,
    bucket: Bucket,
    epoch: Instant,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Tasks to start.
    pub(super) start: Vec<Job>,
    /// Tasks whose time was over before they started.
    pub(super) expired: Vec<Job>,
    /// When to ask again, if nothing happens before.
    pub(super) alarm: Option<Instant>,
    /// Lanes that came under pressure, or out of it.
    pub(super) edges: Vec<(SessionLane, Edge)>,
    /// Alerts to raise.
    pub(super) alerts: Vec<(SessionLane, Alert)>,
}

impl State {
    /// An empty session.
    pub(super) fn new(plan: &Plan, now: Instant) -> Self {
        Self {
            scheduler: Scheduler::new(plan.caps, plan.boost, plan.pressure),
            outstanding: HashMap::new(),
            handlers: plan.handlers,
            external_handler: None,
            host: HostTasks::default(),
            metrics: plan.metrics.then(Metrics::new),
            alerts: plan.alerts.then(DepthAlerts::default),
            rate: plan.rate.map(|limit| Rate {
                limit,
                bucket: limit.full(0),
                epoch: now,
            }),
            alarm: None,
        }
    }

    /// Puts a job at the end of its lane; it is given back when the session is closed.
    #[must_use]
    pub(super) fn enqueue(&mut self, job: Job) -> Option<Job> {
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
        let pause = self.start_what_may(now, &mut due.start);
        due.alarm = self.next_alarm(pause);
        self.observe(&mut due);
        due
    }

    /// Starts tasks until none may start; says when the rate limit lets the next one.
    fn start_what_may(&mut self, now: Instant, start: &mut Vec<Job>) -> Option<Instant> {
        while self.scheduler.ready(now).is_some() {
            if let Some(rate) = &mut self.rate
                && let Err(pause) = rate.take(now)
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

    /// The four lanes now.
    pub(super) fn stats(&self) -> SessionQueueStats {
        let lanes = SessionLane::ALL.map(|lane| LaneStatus {
            lane,
            pending: self.scheduler.waiting(lane),
            active: self.scheduler.active(lane),
            max_concurrency: self.scheduler.cap(lane),
            handler_mode: self.handlers[lane.index()].mode,
        });
        let external = self
            .outstanding
            .values()
            .filter(|task| task.external)
            .count();
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
    pub(super) fn signal(&self, task_id: &str, signal: Signal) -> bool {
        let Some(entry) = self.outstanding.get(task_id) else {
            return false;
        };
        !matches!(entry.signals.try_send(signal), Err(TrySendError::Closed(_)))
    }

    /// How a task that is submitted to `lane` now is handled.
    pub(super) fn how(&self, lane: SessionLane) -> How {
        let mode = self.handlers[lane.index()].mode;
        How::of(mode, self.external_handler.as_ref())
    }
}

impl Rate {
    /// Takes one token, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let elapsed = now.saturating_duration_since(self.epoch).as_millis();
        let now_ms = u64::try_from(elapsed).unwrap_or(u64::MAX);
        if self.limit.take(&mut self.bucket, 1, now_ms) == 1 {
            return Ok(());
        }
        Err(now + self.limit.wait(&self.bucket, now_ms))
    }
}
