//! Hybrid lanes: their calls run in the agent's process, and the fleet's listeners are told.
//!
//! The agent's queue tells of such a call by two events in the agent's stream. They become events
//! of the session at the broker, where `a3s-coordinator watch` and `nats sub` hear them.

use std::collections::HashMap;
use std::time::Instant;

use a3s_code_core::AgentEvent;
use a3s_code_core::queue::{SessionLane as AgentLane, TaskHandlerMode};
use a3s_shared::broker::Broker;
use a3s_shared::protocol::{Event, EventKind, SessionLane, clock};
use parking_lot::Mutex;

use crate::lanes::{Handlers, on_the_wire};

/// The worker that the events name: no worker.
const HERE: &str = "agent";

/// Calls of hybrid lanes that run, and where their events go.
#[derive(Debug)]
pub(crate) struct Hybrid {
    broker: Broker,
    session: String,
    handlers: Handlers,
    running: Mutex<HashMap<String, Running>>,
}

#[derive(Debug)]
struct Running {
    lane: SessionLane,
    command_type: String,
    since: Instant,
}

impl Hybrid {
    pub(crate) fn new(broker: Broker, session: &str, handlers: Handlers) -> Self {
        Self {
            broker,
            session: session.to_owned(),
            handlers,
            running: Mutex::default(),
        }
    }

    /// Takes note of an event of the agent.
    pub(crate) fn hear(&self, event: &AgentEvent) {
        match event {
            AgentEvent::ExternalTaskPending {
                task_id,
                lane,
                command_type,
                ..
            } if self.handlers.mode(*lane) == TaskHandlerMode::Hybrid => {
                self.started(task_id, *lane, command_type);
            }
            AgentEvent::ExternalTaskCompleted {
                task_id, success, ..
            } => self.ended(task_id, *success),
            _ => {}
        }
    }

    fn started(&self, task_id: &str, lane: AgentLane, command_type: &str) {
        let running = Running {
            lane: on_the_wire(lane),
            command_type: command_type.to_owned(),
            since: Instant::now(),
        };
        self.tell(EventKind::Submitted, task_id, &running, None);
        self.tell(EventKind::Started, task_id, &running, None);
        self.running.lock().insert(task_id.to_owned(), running);
    }

    fn ended(&self, task_id: &str, success: bool) {
        let Some(running) = self.running.lock().remove(task_id) else {
            return;
        };
        let kind = if success {
            EventKind::Completed
        } else {
            EventKind::Failed
        };
        let ran = running.since.elapsed().as_millis();
        let ran = u64::try_from(ran).unwrap_or(u64::MAX);
        self.tell(kind, task_id, &running, Some(ran));
    }

    fn tell(&self, kind: EventKind, task_id: &str, running: &Running, ran: Option<u64>) {
        self.broker.emit(&self.session, kind, || Event {
            task_id: Some(task_id.to_owned()),
            lane: Some(running.lane),
            command_type: Some(running.command_type.clone()),
            attempt: Some(1),
            worker_id: Some(HERE.to_owned()),
            duration_ms: ran,
            error: (kind == EventKind::Failed).then(|| "the tool could not be run".to_owned()),
            ..Event::of_session(kind, &self.session, clock::now_ms())
        });
    }
}
