//! Telling what happens: to listeners in this process, and to the world over the broker. Nothing
//! depends on it, and nothing waits for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use a3s_shared::broker::{Broker, EventFeed};
use a3s_shared::protocol::{Event, EventKind, Outcome, SessionLane, TaskResult, clock};
use tokio::sync::broadcast;
use tokio_util::task::AbortOnDropHandle;

use super::core::Core;
use super::job::{HERE, Job};
use crate::alerts::Alert;
use crate::scheduler::Edge;

/// How far a listener may lag behind before it misses events.
const KEPT: usize = 1_024;

/// Who hears of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// Listeners in this process.
    Here,
    /// They, and whoever listens at the broker.
    World,
}

/// Where events and alerts go. Each channel is made for its first listener: it has room for all
/// that it keeps from the beginning, which is too much for each of ten thousand sessions.
#[derive(Debug)]
pub(super) struct Reports {
    events: OnceLock<broadcast::Sender<Event>>,
    alerts: OnceLock<broadcast::Sender<Alert>>,
    broker: Broker,
}

impl Reports {
    pub(super) fn new(broker: Broker) -> Self {
        Self {
            events: OnceLock::new(),
            alerts: OnceLock::new(),
            broker,
        }
    }

    /// Where events go for listeners in this process.
    pub(super) fn events(&self) -> &broadcast::Sender<Event> {
        self.events.get_or_init(|| broadcast::Sender::new(KEPT))
    }

    /// Where alerts go.
    pub(super) fn alerts(&self) -> &broadcast::Sender<Alert> {
        self.alerts.get_or_init(|| broadcast::Sender::new(KEPT))
    }

    /// Tells an event, which is built only if anybody listens.
    fn tell(&self, session: &str, kind: EventKind, scope: Scope, event: impl Fn() -> Event) {
        if scope == Scope::World {
            self.broker.emit(session, kind, &event);
        }
        let heard = |events: &&broadcast::Sender<Event>| events.receiver_count() > 0;
        if let Some(events) = self.events.get().filter(heard) {
            // The last listener may have left meanwhile.
            let _ = events.send(event());
        }
    }
}

impl Core {
    /// Tells an event, which is built only if anybody listens.
    pub(super) fn tell(&self, kind: EventKind, scope: Scope, event: impl Fn() -> Event) {
        self.reports.tell(&self.id, kind, scope, event);
    }

    fn event(&self, kind: EventKind) -> Event {
        Event::of_session(kind, &self.id, clock::now_ms())
    }

    fn task_event(&self, kind: EventKind, job: &Job) -> Event {
        Event {
            task_id: Some(job.task.task_id.clone()),
            lane: Some(job.task.lane),
            command_type: Some(job.task.command_type.clone()),
            ..self.event(kind)
        }
    }

    /// The event of a task that was taken.
    pub(super) fn submitted_event(&self, job: &Job) -> Event {
        self.task_event(EventKind::Submitted, job)
    }

    /// The broker has accepted the task.
    pub(super) fn tell_submitted(&self, job: &Job) {
        let kind = EventKind::Submitted;
        self.tell(kind, Scope::World, || self.submitted_event(job));
    }

    /// An attempt in this process began, or is to be followed by another one.
    pub(super) fn tell_attempt(
        &self,
        job: &Job,
        kind: EventKind,
        error: Option<String>,
        delay: Option<Duration>,
    ) {
        self.tell(kind, Self::scope(&job.how), || Event {
            attempt: Some(job.attempt),
            worker_id: Some(HERE.to_owned()),
            error: error.clone(),
            delay_ms: delay.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            ..self.task_event(kind, job)
        });
    }

    /// A task ended; `told` says that its worker has told the world.
    pub(super) fn tell_end(&self, job: &Job, result: &TaskResult, told: bool) {
        let kind = match result.outcome() {
            Outcome::Completed => EventKind::Completed,
            Outcome::TimedOut => EventKind::Timeout,
            Outcome::DeadLettered => EventKind::DeadLettered,
            Outcome::Failed | Outcome::Cancelled | Outcome::Unknown => EventKind::Failed,
        };
        let scope = if told {
            Scope::Here
        } else {
            Self::scope(&job.how)
        };
        self.tell(kind, scope, || Event {
            attempt: Some(result.attempt),
            worker_id: Some(result.worker_id.clone()),
            duration_ms: Some(result.duration_ms),
            error: result.error.clone(),
            ..self.task_event(kind, job)
        });
    }

    /// A lane came under pressure, or out of it.
    pub(super) fn tell_edge(&self, lane: SessionLane, edge: Edge) {
        let kind = match edge {
            Edge::Pressure => EventKind::Pressure,
            Edge::Idle => EventKind::Idle,
        };
        self.tell(kind, Scope::World, || Event {
            lane: Some(lane),
            ..self.event(kind)
        });
    }

    /// An alert fired.
    pub(super) fn tell_alert(&self, lane: SessionLane, alert: Alert) {
        let kind = EventKind::Alert;
        self.tell(kind, Scope::World, || Event {
            lane: Some(lane),
            error: Some(alert.message.clone()),
            ..self.event(kind)
        });
        if let Some(alerts) = self.reports.alerts.get() {
            // Nobody may be listening.
            let _ = alerts.send(alert);
        }
    }

    /// Something happened to the session as a whole.
    pub(super) fn tell_session(&self, kind: EventKind) {
        self.tell(kind, Scope::World, || self.event(kind));
    }

    /// Makes sure that what workers tell of this session's tasks is heard here too. They alone
    /// know when an attempt begins or is repeated; everything else this process tells itself.
    pub(super) async fn listen_to_workers(self: &Arc<Self>) {
        let listen = || async {
            let feed = self.hub.broker.subscribe_events(Some(&self.id)).await;
            let warn = |error: &_| {
                tracing::warn!(session.id = self.id, %error, "events of workers are not heard");
            };
            let feed = feed.inspect_err(warn).ok()?;
            let events = self.reports.events().clone();
            Some(AbortOnDropHandle::new(tokio::spawn(forward(feed, events))))
        };
        self.workers.get_or_init(listen).await;
    }
}

async fn forward(mut feed: EventFeed, events: broadcast::Sender<Event>) {
    while let Some(event) = feed.next().await {
        let by_worker = event.worker_id.as_deref().is_some_and(|id| id != HERE);
        if by_worker && matches!(event.kind, EventKind::Started | EventKind::Retry) {
            let _ = events.send(event);
        }
    }
}
