//! Results of a session, as the broker stores them, given to the tasks that wait for them.

use std::sync::{Arc, Weak};

use a3s_shared::broker::ResultFeed;
use tokio_util::task::AbortOnDropHandle;

use super::core::Core;
use super::job::Signal;

impl Core {
    /// Reads `feed` as long as the session is there.
    pub(super) fn listen_to_results(self: &Arc<Self>, feed: ResultFeed) {
        let listener = tokio::spawn(forward(feed, Arc::downgrade(self)));
        *self.results.lock() = Some(AbortOnDropHandle::new(listener));
    }

    /// Lets every task that waits for a worker's result look for it.
    pub(crate) fn look_for_results(&self) {
        let mut state = self.state.lock();
        let started = state
            .outstanding
            .values_mut()
            .filter(|task| task.ticket.is_none());
        for task in started.filter(|task| task.external) {
            let _ = task.signals.try_send(Signal::Look);
        }
    }
}

async fn forward(mut feed: ResultFeed, core: Weak<Core>) {
    while let Some(answer) = feed.next_answer().await {
        let Some(core) = core.upgrade() else { return };
        let (id, lane) = (answer.result.task_id.clone(), answer.result.lane);
        let ours = core
            .state
            .lock()
            .signal(&id, Signal::Result(Box::new(answer)));
        if !ours {
            core.inherited_ended(lane);
        }
    }
}
