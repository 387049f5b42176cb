//! Acknowledgements, confirmed together: what ends at the same moment is told in one go, and the
//! broker's word on the last one of a lane holds for those before it
//! (`docs/decisions/0017-acknowledgements-are-confirmed-together.md`).

use std::mem;
use std::sync::Arc;

use a3s_shared::broker::Broker;
use a3s_shared::protocol::SessionLane;
use async_nats::Subject;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::delivery::ANSWER_TRIES;
use crate::steps::{Step, Steps};

/// The acknowledgements that a worker is about to send. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Acks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    broker: Broker,
    /// Where they are awaited, so that a drain waits for them.
    running: TaskTracker,
    steps: Steps,
    /// By lane, because each has its consumer.
    ended: Mutex<[Ended; 4]>,
}

/// Tasks of a lane whose results are stored: where the broker hears of them, and their ids.
#[derive(Debug, Default)]
struct Ended {
    replies: Vec<Subject>,
    task_ids: Vec<String>,
}

impl Acks {
    pub(crate) fn new(broker: Broker, running: TaskTracker, steps: Steps) -> Self {
        Self(Arc::new(Inner {
            broker,
            running,
            steps,
            ended: Mutex::default(),
        }))
    }

    /// Acknowledges a task whose result is stored, with all others that end before the runtime gets
    /// round to it.
    pub(crate) fn add(&self, lane: SessionLane, reply: Subject, task_id: String) {
        let first = {
            let ended = &mut self.0.ended.lock()[lane.index()];
            ended.replies.push(reply);
            ended.task_ids.push(task_id);
            ended.replies.len() == 1
        };
        if first {
            let acks = self.clone();
            self.0.running.spawn(async move { acks.tell(lane).await });
        }
    }

    async fn tell(&self, lane: SessionLane) {
        let ended = mem::take(&mut self.0.ended.lock()[lane.index()]);
        for _ in 0..ANSWER_TRIES {
            if self.0.broker.acknowledge_all(&ended.replies).await {
                for task_id in &ended.task_ids {
                    self.0.steps.at(Step::Acked, task_id);
                }
                return;
            }
        }
        tracing::warn!(
            lane = lane.id(),
            tasks = ended.task_ids.len(),
            "tasks that have results were not acknowledged; they are when they are redelivered"
        );
    }
}
