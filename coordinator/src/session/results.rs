//! Results of a session, as the broker stores them, given to the tasks that wait for them.

use std::sync::{Arc, Weak};

use a3s_shared::broker::{Answer, ResultFeed};
use tokio_util::task::AbortOnDropHandle;

use super::core::Core;
use super::job::Signal;
use super::outstanding::Told;

impl Core {
    /// Reads `feed` as long as the session is there.
    pub(super) fn listen_to_results(self: &Arc<Self>, feed: ResultFeed) {
        let listener = tokio::spawn(forward(feed, Arc::downgrade(self)));
        *self.results.lock() = Some(AbortOnDropHandle::new(listener));
    }

    /// Lets every task that waits for a worker's result look for it.
    pub(crate) fn look_for_results(self: &Arc<Self>) {
        let mut woken = Vec::new();
        {
            let mut state = self.state.lock();
            let tasks = state.outstanding.values_mut();
            let started = tasks.filter(|task| task.external && task.ticket.is_none());
            for task in started {
                if let Told::Woken(job) = task.listener.tell(Signal::Look) {
                    woken.push(job);
                }
            }
        }
        for job in woken {
            self.resume(job);
        }
    }

    fn heard_answer(self: &Arc<Self>, mut answer: Answer) {
        // Whether to believe it is for the task's future to say, where that is a question.
        if !answer.refused {
            match self.complete_in_flight(answer.result) {
                None => return,
                Some(result) => answer.result = result,
            }
        }
        let (id, lane) = (answer.result.task_id.clone(), answer.result.lane);
        if !self.signal(&id, Signal::Result(Box::new(answer))) {
            self.inherited_ended(lane);
        }
    }
}

async fn forward(mut feed: ResultFeed, core: Weak<Core>) {
    while let Some(answer) = feed.next_answer().await {
        let Some(core) = core.upgrade() else { return };
        core.heard_answer(answer);
    }
}
