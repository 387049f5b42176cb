//! Which tasks somebody wants to end: one watch for the whole worker.

use std::collections::VecDeque;
use std::sync::Arc;

use a3s_shared::broker::{Broker, BrokerError, Cancelled};
use a3s_shared::protocol::CancelMarker;
use foldhash::HashMap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Markers that are remembered. Older ones are asked for when their task is redelivered.
const REMEMBERED: usize = 100_000;

/// `<session>.<task id>`: neither has a dot.
type Key = Arc<str>;

fn key(session: &str, task_id: &str) -> Key {
    [session, ".", task_id].concat().into()
}

/// The cancel markers that the worker knows, and the running tasks that want to hear of new ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cancels(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    markers: HashMap<Key, CancelMarker>,
    order: VecDeque<Key>,
    running: HashMap<Key, oneshot::Sender<()>>,
}

/// Tells a running task of its cancellation; dropping it ends the interest.
#[derive(Debug)]
pub(crate) struct Interest {
    cancels: Cancels,
    key: Key,
    signal: oneshot::Receiver<()>,
}

impl Cancels {
    /// Reads the markers that are kept, then follows new ones in the background.
    pub(crate) async fn follow(
        broker: &Broker,
        session: Option<String>,
    ) -> Result<Self, BrokerError> {
        let cancels = Self::default();
        let mut feed = broker.watch_cancels(session.as_deref());
        for cancelled in feed.open().await? {
            cancels.note(cancelled);
        }
        let weak = Arc::downgrade(&cancels.0);
        tokio::spawn(async move {
            loop {
                let cancelled = feed.next().await;
                let Some(known) = weak.upgrade() else { return };
                Self(known).note(cancelled);
            }
        });
        Ok(cancels)
    }

    /// The marker of a task, if it has one.
    pub(crate) fn marker(&self, session: &str, task_id: &str) -> Option<CancelMarker> {
        let known = self.0.lock();
        if known.markers.is_empty() {
            return None;
        }
        known.markers.get(&key(session, task_id)).cloned()
    }

    /// Interest in the cancellation of a task that starts now.
    pub(crate) fn interest(&self, session: &str, task_id: &str) -> Interest {
        let key = key(session, task_id);
        let mut known = self.0.lock();
        let (sender, signal) = oneshot::channel();
        if !known.markers.is_empty() && known.markers.contains_key(&key) {
            // The receiver is right here.
            let _ = sender.send(());
        } else {
            known.running.insert(Arc::clone(&key), sender);
        }
        drop(known);
        Interest {
            cancels: self.clone(),
            key,
            signal,
        }
    }

    fn note(&self, cancelled: Cancelled) {
        let key = key(&cancelled.session, &cancelled.task_id);
        let mut known = self.0.lock();
        if let Some(running) = known.running.remove(&key) {
            // It may have ended just now.
            let _ = running.send(());
        }
        if known
            .markers
            .insert(Arc::clone(&key), cancelled.marker)
            .is_none()
        {
            known.order.push_back(key);
        }
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.markers.remove(&oldest);
        }
    }
}

impl Interest {
    /// Resolves when the task is cancelled.
    pub(crate) async fn cancelled(&mut self) {
        if (&mut self.signal).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.cancels.0.lock().running.remove(&self.key);
    }
}
