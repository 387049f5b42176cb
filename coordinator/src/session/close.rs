//! The end of a session: everyone who waits gets an answer, and nothing of it lingers. Or only
//! this process's part in it: what the broker has goes on.

use std::sync::Arc;
use std::time::Duration;

use a3s_shared::protocol::{EventKind, SessionState};
use futures::future::join_all;
use tokio::time::timeout;

use super::core::Core;

/// How long cancelled tasks have to end: a worker's answer, and settling when it does not come.
const CANCEL_WITHIN: Duration = Duration::from_secs(10);

impl Core {
    /// Closes the session. A second call waits for the first.
    pub(crate) async fn close(self: &Arc<Self>) {
        self.closed.get_or_init(|| self.close_once()).await;
    }

    /// Takes no more tasks here; the session and what the broker has of it go on.
    pub(crate) async fn leave(self: &Arc<Self>) {
        self.closed.get_or_init(|| self.leave_once()).await;
    }

    async fn leave_once(self: &Arc<Self>) {
        self.turn_away();
        *self.results.lock() = None;
    }

    /// Refuses new tasks, and answers for those that the broker does not have yet.
    fn turn_away(self: &Arc<Self>) {
        for room in &self.room {
            room.close();
        }
        let waiting = self.state.lock().scheduler.close();
        for job in waiting {
            let answer = Err(self.closed_before(&job));
            self.settle(job, answer, false);
        }
    }

    async fn close_once(self: &Arc<Self>) {
        self.tell_session(EventKind::ShutdownStarted);
        self.turn_away();
        if !self.is_idle_within(self.grace).await {
            self.cancel_all().await;
            if !self.is_idle_within(CANCEL_WITHIN).await {
                let left = *self.outstanding.borrow();
                tracing::warn!(
                    session.id = self.id,
                    left,
                    "closed with tasks of unknown fate"
                );
            }
        }
        if let Err(error) = self.write_state(SessionState::Closed).await {
            tracing::debug!(session.id = self.id, %error, "the session's record stays open");
        }
        self.tell_session(EventKind::ShutdownComplete);
        *self.results.lock() = None;
    }

    async fn is_idle_within(&self, bound: Duration) -> bool {
        let mut outstanding = self.outstanding.subscribe();
        let idle = outstanding.wait_for(|left| *left == 0);
        timeout(bound, idle).await.is_ok()
    }

    async fn cancel_all(self: &Arc<Self>) {
        let ids: Vec<String> = self.state.lock().outstanding.keys().cloned().collect();
        let cancels = ids.iter().map(|id| async move {
            if let Err(error) = self.cancel(id, "its session was closed").await {
                tracing::warn!(task.id = id, %error, "a task could not be cancelled");
            }
        });
        join_all(cancels).await;
    }
}
