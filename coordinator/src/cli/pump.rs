//! Keeps a fleet busy: as many jobs under way as it has room for, their results handed on.

use std::collections::HashSet;
use std::future::Future;

use a3s_shared::broker::Fleet;
use a3s_shared::protocol::{Presence, Route, SessionLane};
use a3s_shared::runtime::Shutdown;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;

use super::failure::Failure;
use super::order::{Order, Sorter};

/// How many results may wait for an earlier one before nothing more is started.
const MAX_HELD: usize = 256;

/// How many jobs may be under way: what `-j` says, else what the workers present have slots for.
#[derive(Debug, Clone)]
pub(crate) struct Room {
    fixed: Option<usize>,
    /// Jobs under way for each slot: 1 where jobs are long and their time counts from the start,
    /// 2 where they are short and a slot must never wait for the next one.
    depth: usize,
    fleet: Fleet,
    session: String,
    route: Route,
}

impl Room {
    /// Room on the workers that take tasks of `session` and `route`.
    pub(crate) fn new(fleet: &Fleet, session: &str, route: &Route, jobs: Option<usize>) -> Self {
        Self {
            fixed: jobs,
            depth: 1,
            fleet: fleet.clone(),
            session: session.to_owned(),
            route: route.clone(),
        }
    }

    /// Twice as many, for jobs that are short.
    pub(crate) fn for_short_jobs(mut self) -> Self {
        self.depth = 2;
        self
    }

    /// Slots of the workers present that take these tasks.
    pub(crate) fn slots(&self) -> usize {
        self.workers().iter().map(|worker| worker.slots).sum()
    }

    /// The workers present that take these tasks, from any lane.
    pub(crate) fn workers(&self) -> Vec<Presence> {
        let mut workers = self.fleet.workers();
        workers.retain(|worker| {
            SessionLane::ALL
                .into_iter()
                .any(|lane| worker.takes(&self.session, &self.route, lane))
        });
        workers
    }

    fn jobs(&self) -> usize {
        let wanted = self.fixed.unwrap_or_else(|| self.slots() * self.depth);
        wanted.max(1)
    }

    /// Resolves when there may be more room, or less.
    pub(crate) async fn changed(&mut self) {
        self.fleet.changed().await;
    }
}

/// What to do after a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Go on.
    Go,
    /// Start nothing more, and finish what runs.
    Finish,
    /// Start nothing more, and cancel what runs.
    Cancel,
}

/// The jobs of a verb, and what happens to them.
pub(crate) struct Pump<'a> {
    /// How many at a time.
    pub(crate) room: Room,
    /// In which order results are handed on.
    pub(crate) order: Order,
    /// Cancelled when what runs must end; jobs listen to it.
    pub(crate) cancel: &'a CancellationToken,
    /// Ctrl-C.
    pub(crate) shutdown: &'a Shutdown,
}

impl Pump<'_> {
    /// Runs every job and hands on every result. After Ctrl-C nothing more is started, what runs
    /// is cancelled, and its results are handed on too. When a result cannot be handed on (a pager
    /// was closed), what runs is cancelled.
    pub(crate) async fn run<J, T, F>(
        mut self,
        jobs: impl Stream<Item = J>,
        start: impl Fn(J) -> F,
        mut sink: impl AsyncFnMut(T) -> Result<Flow, Failure>,
    ) -> Result<(), Failure>
    where
        F: Future<Output = T>,
    {
        let mut jobs = std::pin::pin!(jobs.enumerate());
        let mut running = FuturesUnordered::new();
        let mut sorter = Sorter::new(self.order);
        let mut open = true;
        while open || !running.is_empty() {
            let free = open && running.len() < self.room.jobs() && sorter.held() < MAX_HELD;
            tokio::select! {
                biased;
                () = self.shutdown.draining(), if !self.cancel.is_cancelled() => {
                    open = false;
                    self.cancel.cancel();
                }
                Some((index, result)) = running.next(), if !running.is_empty() => {
                    for result in sorter.push(index, result) {
                        let flow = match sink(result).await {
                            Ok(flow) => flow,
                            Err(failure) => {
                                // Nobody wants the results: nothing may run on for nobody.
                                self.cancel.cancel();
                                while running.next().await.is_some() {}
                                return Err(failure);
                            }
                        };
                        open &= flow == Flow::Go;
                        if flow == Flow::Cancel {
                            self.cancel.cancel();
                        }
                    }
                }
                job = jobs.next(), if free => match job {
                    Some((index, job)) => {
                        let job = start(job);
                        running.push(async move { (index, job.await) });
                    }
                    None => open = false,
                },
                () = self.room.changed(), if open && !free => {}
            }
        }
        Ok(())
    }
}

/// Tells which lanes of a session were used before, for what is said once a lane.
#[derive(Debug, Default)]
pub(crate) struct FirstUse(HashSet<SessionLane>);

impl FirstUse {
    /// Whether this is the first use of `lane`.
    pub(crate) fn of(&mut self, lane: SessionLane) -> bool {
        self.0.insert(lane)
    }
}
