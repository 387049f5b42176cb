//! One timer for all sessions of a process: it wakes a session when one of its waiting tasks
//! expires, or when its rate limit lets the next one start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Weak;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::session::Core;

/// Where sessions ask to be woken.
#[derive(Debug, Clone)]
pub(crate) struct Alarms(mpsc::UnboundedSender<Alarm>);

/// A session and when to wake it. A session has one or two at a time, so the queue is short.
#[derive(Debug)]
struct Alarm {
    at: Instant,
    session: Weak<Core>,
}

impl Alarms {
    /// A timer, and the loop that must run for it.
    pub(crate) fn new() -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), ring(receiver))
    }

    /// Wakes `session` at `at`, unless it is gone by then.
    pub(crate) fn set(&self, at: Instant, session: Weak<Core>) {
        // The loop is gone only when the process ends.
        let _ = self.0.send(Alarm { at, session });
    }
}

async fn ring(mut asked: mpsc::UnboundedReceiver<Alarm>) {
    let mut alarms: BinaryHeap<Reverse<Alarm>> = BinaryHeap::new();
    loop {
        let next = alarms.peek().map(|Reverse(alarm)| alarm.at);
        tokio::select! {
            alarm = asked.recv() => match alarm {
                Some(alarm) => alarms.push(Reverse(alarm)),
                None => return,
            },
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some(Reverse(alarm)) = alarms.pop()
                    && let Some(session) = alarm.session.upgrade()
                {
                    session.wake();
                }
            }
        }
    }
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}
