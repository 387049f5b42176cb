//! The lease on a running task: the broker waits for us as long as we say that we work.

use std::time::{Duration, Instant};

use a3s_shared::broker::Broker;
use async_nats::Subject;
use tokio::time::sleep;

use crate::delivery::{Answer, Delivery};

/// The wait before a renewal without an answer is repeated.
const REPEAT_AFTER: Duration = Duration::from_millis(500);

/// Keeps the lease of one delivery. It is ours until `ack_wait` after the last moment at which
/// the broker is known to have heard of us.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    broker: &'a Broker,
    reply: Subject,
    ack_wait: Duration,
    confirmed: parking_lot::Mutex<Instant>,
}

impl<'a> Lease<'a> {
    pub(crate) fn new(broker: &'a Broker, delivery: &Delivery, ack_wait: Duration) -> Self {
        Self {
            broker,
            reply: delivery.reply.clone(),
            ack_wait,
            confirmed: parking_lot::Mutex::new(delivery.received),
        }
    }

    /// How long it is ours if nothing more is heard of us.
    pub(crate) fn left(&self) -> Duration {
        self.ack_wait
            .saturating_sub(self.confirmed.lock().elapsed())
    }

    /// Whether the task is still ours. Also right after the whole process was stopped for a
    /// while: the monotonic clock goes on.
    pub(crate) fn is_held(&self) -> bool {
        !self.left().is_zero()
    }

    /// Renews every third of `ack_wait` and returns when the lease is lost for good. A renewal
    /// counts from when it was sent, and only when the broker confirmed it.
    pub(crate) async fn keep(&self) {
        loop {
            let since = self.confirmed.lock().elapsed();
            sleep((self.ack_wait / 3).saturating_sub(since)).await;
            if !self.is_held() {
                return;
            }
            let sent = Instant::now();
            // Boxed: most tasks end before, and each has the room for this.
            let renewal = self.broker.acknowledge(&self.reply, Answer::Working.text());
            match Box::pin(tokio::time::timeout(self.left(), renewal)).await {
                Ok(true) => *self.confirmed.lock() = sent,
                Ok(false) => sleep(REPEAT_AFTER.min(self.ack_wait / 6)).await,
                Err(_) => return,
            }
        }
    }
}
