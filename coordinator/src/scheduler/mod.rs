//! Which waiting task starts next. Pure: the time is passed in, and nothing is run here.
//!
//! * Lanes go by priority; a [`Boost`] lets a waiting task move up as its time runs out, and of
//!   two tasks of the same priority the older one goes first.
//! * Inside a lane the order of submission holds, always.
//! * A lane never has more tasks started than its cap. Tasks that need no slot (the broker counts
//!   them) start when it is their turn.
//! * While paused, only Control tasks start. Once closed, nothing new is taken.

mod lane;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use a3s_shared::protocol::SessionLane;
use tokio::time::Instant;

use crate::boost::Boost;
use lane::Lane;

/// A task that waits for its turn.
#[derive(Debug)]
pub(crate) struct Waiting<T> {
    /// What to start.
    pub(crate) item: T,
    /// When it was submitted.
    pub(crate) submitted: Instant,
    /// When it need not be started any more.
    pub(crate) deadline: Instant,
    /// Whether it counts against the lane's cap.
    pub(crate) holds_slot: bool,
}

/// Where a waiting task is found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket {
    lane: SessionLane,
    number: u64,
}

/// The session takes no tasks any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// A lane's queue became long, or empty again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// As many tasks wait as the threshold says.
    Pressure,
    /// None waits any more.
    Idle,
}

/// The four lanes of a session.
#[derive(Debug)]
pub(crate) struct Scheduler<T> {
    lanes: [Lane<T>; 4],
    deadlines: BTreeSet<(Instant, Ticket)>,
    boost: Boost,
    pressure: Option<usize>,
    next_number: u64,
    paused: bool,
    closed: bool,
}

impl<T> Scheduler<T> {
    /// Four empty lanes, with these caps by lane.
    pub(crate) fn new(caps: [usize; 4], boost: Boost, pressure: Option<usize>) -> Self {
        Self {
            lanes: caps.map(Lane::new),
            deadlines: BTreeSet::new(),
            boost,
            pressure,
            next_number: 0,
            paused: false,
            closed: false,
        }
    }

    /// Puts a task at the end of its lane.
    pub(crate) fn push(&mut self, lane: SessionLane, task: Waiting<T>) -> Result<Ticket, Closed> {
        if self.closed {
            return Err(Closed);
        }
        let number = self.next_number;
        self.next_number += 1;
        let ticket = Ticket { lane, number };
        self.deadlines.insert((task.deadline, ticket));
        self.lanes[lane.index()].queue.push_back((number, task));
        Ok(ticket)
    }

    /// The lane whose first task may start now and comes before those of all other lanes.
    pub(crate) fn ready(&self, now: Instant) -> Option<SessionLane> {
        let open = |lane: &SessionLane| !self.paused || *lane == SessionLane::Control;
        let ready = SessionLane::ALL.into_iter().filter(open);
        let ranked = ready.filter_map(|lane| {
            let (number, task) = self.lanes[lane.index()].first_startable()?;
            let waited = now.saturating_duration_since(task.submitted);
            let timeout = task.deadline.saturating_duration_since(task.submitted);
            Some((
                self.boost.priority(lane.priority(), waited, timeout),
                number,
                lane,
            ))
        });
        ranked
            .min_by_key(|(priority, number, _)| (*priority, *number))
            .map(|(.., lane)| lane)
    }

    /// Takes the task that starts next out of its lane. Each one is given back by
    /// [`finish`](Self::finish).
    pub(crate) fn next(&mut self, now: Instant) -> Option<(SessionLane, Waiting<T>)> {
        let lane = self.ready(now)?;
        let queue = &mut self.lanes[lane.index()];
        let (number, task) = queue.queue.pop_front()?;
        queue.start(task.holds_slot);
        self.deadlines
            .remove(&(task.deadline, Ticket { lane, number }));
        Some((lane, task))
    }

    /// A started task ended; what it held is free.
    pub(crate) fn finish(&mut self, lane: SessionLane, holds_slot: bool) {
        self.lanes[lane.index()].finish(holds_slot);
    }

    /// Takes a task out before it started. None when it has started, or was taken before.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let task = self.lanes[ticket.lane.index()].take(ticket.number)?;
        self.deadlines.remove(&(task.deadline, ticket));
        Some(task.item)
    }

    /// Takes out all tasks whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((deadline, ticket)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            self.deadlines.pop_first();
            let task = self.lanes[ticket.lane.index()].take(ticket.number);
            expired.extend(task.map(|task| task.item));
        }
        expired
    }

    /// When the next waiting task expires.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Changes a lane's cap. What has started is not affected.
    pub(crate) fn set_cap(&mut self, lane: SessionLane, cap: usize) {
        self.lanes[lane.index()].cap = cap;
    }

    /// Says how many slots of a lane are held by tasks that another process started.
    pub(crate) fn set_inherited(&mut self, lane: SessionLane, tasks: usize) {
        self.lanes[lane.index()].inherited = tasks;
    }

    /// How many slots of a lane are held by tasks that another process started.
    pub(crate) fn inherited(&self, lane: SessionLane) -> usize {
        self.lanes[lane.index()].inherited
    }

    /// Stops or resumes the start of all but Control tasks.
    pub(crate) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Takes no more tasks, and gives back those that wait.
    pub(crate) fn close(&mut self) -> Vec<T> {
        self.closed = true;
        self.deadlines.clear();
        let queues = self.lanes.iter_mut().flat_map(|lane| lane.queue.drain(..));
        queues.map(|(_, task)| task.item).collect()
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many tasks wait in a lane.
    pub(crate) fn waiting(&self, lane: SessionLane) -> usize {
        self.lanes[lane.index()].queue.len()
    }

    /// How many tasks of a lane have started and not ended.
    pub(crate) fn active(&self, lane: SessionLane) -> usize {
        self.lanes[lane.index()].active
    }

    /// How many tasks that hold a slot a lane may have started.
    pub(crate) fn cap(&self, lane: SessionLane) -> usize {
        self.lanes[lane.index()].cap
    }

    /// Whether the lane came under pressure, or out of it, since the last call.
    pub(crate) fn edge(&mut self, lane: SessionLane) -> Option<Edge> {
        let threshold = self.pressure?;
        self.lanes[lane.index()].edge(threshold)
    }
}
