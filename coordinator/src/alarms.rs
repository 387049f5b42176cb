//! One timer for all sessions of a process: it wakes a session when one of its waiting tasks
//! expires, or when its rate limit lets the next one start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::session::Core;

/// Where sessions ask to be woken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarms(Arc<Shared>);

/// Written by sessions, emptied by the loop.
#[derive(Debug, Default)]
struct Shared {
    /// The earliest first. A session has one or two at a time.
    alarms: Mutex<BinaryHeap<Reverse<Alarm>>>,
    added: Notify,
}

/// A session and when to wake it.
#[derive(Debug)]
struct Alarm {
    at: Instant,
    session: Weak<Core>,
}

impl Alarms {
    /// Wakes `session` at `at`, unless it is gone by then.
    pub(crate) fn set(&self, at: Instant, session: Weak<Core>) {
        self.0.alarms.lock().push(Reverse(Alarm { at, session }));
        self.0.added.notify_one();
    }

    /// The loop that must run for it. Never ends.
    pub(crate) async fn ring(self) {
        loop {
            let next = self.0.alarms.lock().peek().map(|Reverse(alarm)| alarm.at);
            tokio::select! {
                () = self.0.added.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.wake_first();
                }
            }
        }
    }

    fn wake_first(&self) {
        let first = self.0.alarms.lock().pop();
        if let Some(session) = first.and_then(|Reverse(alarm)| alarm.session.upgrade()) {
            session.wake();
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
