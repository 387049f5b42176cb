//! Workers that are started again whenever they die, as systemd or Kubernetes would.

use std::time::{Duration, Instant};

use a3s_shared::protocol::TaskResult;
use a3s_testkit::Process;

use super::Rig;

/// How often the workers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A few workers, and how often they died.
pub(crate) struct Supervised<F> {
    start: F,
    workers: Vec<Process>,
    pub(crate) deaths: usize,
}

impl<F: Fn(usize) -> Process> Supervised<F> {
    /// `count` workers. `start` is told how many were started before.
    pub(crate) fn start(count: usize, start: F) -> Self {
        Self {
            workers: (0..count).map(&start).collect(),
            start,
            deaths: 0,
        }
    }

    /// Starts those again that died.
    fn tend(&mut self) {
        let started = self.workers.len();
        for worker in &mut self.workers {
            if !worker.is_running() {
                *worker = (self.start)(started + self.deaths);
                self.deaths += 1;
            }
        }
    }

    /// Keeps the workers up until this many results are stored, and returns them.
    ///
    /// # Panics
    /// When there are fewer after `bound`.
    pub(crate) async fn until_stored(
        &mut self,
        rig: &Rig,
        count: u64,
        bound: Duration,
    ) -> Vec<TaskResult> {
        let end = Instant::now() + bound;
        loop {
            self.tend();
            let stored = rig.stored("A3S_RESULTS").await;
            if stored.as_ref().is_ok_and(|stored| *stored >= count) {
                return rig.results().await;
            }
            assert!(
                Instant::now() < end,
                "{stored:?} of {count} results after {bound:?}"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
