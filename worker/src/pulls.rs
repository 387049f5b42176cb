//! Which pull to send next. Pure: it is told the time and what arrived, and answers what to ask.
//!
//! A worker with a free slot asks its lanes top-down with pulls that answer at once (a sweep),
//! and only when all are empty leaves one waiting pull at each (an armed pull). So a lower lane is
//! never asked while a higher one may hold something. There is at most one pull a lane.
//!
//! The lane that brought the last task (the hot one) asks for as many as are free, the others for
//! one, so that a busy lane costs one request for many tasks. What one lane has asked for, another
//! does not ask for again, except for one task at a time: a lane is never shut out. So a surplus
//! of one task for each lane can arrive when the slots are taken meanwhile, and a larger one only
//! when a lane that was hot a second ago comes back while others have taken its slots.
//!
//! An own lane has a cap on unacknowledged tasks, and a sweep of a saturated consumer is never
//! answered. There the waiting pull of one alone is used, and a message of a lower lane is held
//! for [`SETTLE`], the time in which a higher lane would have answered.
//!
//! In a near-first pool the broker passes a worker over that has no waiting pull, even when it is
//! the nearest and idle. There each lane's waiting pulls stand for all free slots, always: when a
//! slot returns, a further pull is sent, and before they end, others take their place. So a
//! surplus of as many tasks as the worker has slots can arrive for each lane, when another lane
//! takes all slots at once.

use std::time::{Duration, Instant};

use a3s_shared::protocol::SessionLane;

/// How long an armed pull of one task waits at the broker.
const EXPIRES: Duration = Duration::from_secs(30);
/// How long one of more waits. Short, because until then no other lane may ask for many.
const HOT_EXPIRES: Duration = Duration::from_secs(1);
/// How often the broker says that an armed pull still waits. A cut link gives no other sign.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long standing pulls wait. Not long, because they go on asking when another lane has taken
/// all slots.
const STANDING_EXPIRES: Duration = Duration::from_secs(10);
/// How long before their end others take the place of standing pulls: more than a round trip, and
/// than a busy machine lets a worker wait.
const OVERLAP: Duration = Duration::from_secs(2);
/// Silence after which an armed pull counts as lost.
const DEAF_AFTER: Duration = Duration::from_millis(4_500);
/// Silence after which a sweep counts as lost.
const SWEEP_LOST_AFTER: Duration = Duration::from_secs(2);
/// The wait after a refused or lost pull.
const BACK_OFF: Duration = Duration::from_millis(500);
/// The time in which an own lane's pull is answered when there is something.
const SETTLE: Duration = Duration::from_millis(5);

/// How a worker asks its consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A pool that serves whoever asks first, or helpers last: sweeps, then waiting pulls.
    Shared,
    /// A session's own lanes, with a cap each: waiting pulls alone.
    Capped,
    /// A near-first pool: sweeps, then waiting pulls for all free slots.
    Standing,
}

/// A pull to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) lane: SessionLane,
    /// Tells this pull's status messages from those of an earlier one.
    pub(crate) id: u64,
    /// How many tasks at most.
    pub(crate) batch: usize,
    /// Whether, and how, it waits at the broker when there is nothing.
    pub(crate) wait: Option<Wait>,
}

/// How a pull waits at the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    /// For how long.
    pub(crate) expires: Duration,
    /// How often the broker says that it still waits.
    pub(crate) heartbeat: Option<Duration>,
}

/// What a status message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The pull still waits.
    Heartbeat,
    /// There is nothing (more), what there is goes to earlier pulls of others, or the pull's time
    /// is over.
    Empty,
    /// The broker cannot serve it now: try again a little later.
    Refused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody knows whether there is something.
    Unknown,
    /// Not to be asked before this time.
    BackOff(Instant),
    /// Asked; the answer is under way.
    Sweeping {
        id: u64,
        left: usize,
        since: Instant,
    },
    /// Asked and empty a moment ago.
    Empty,
    /// A pull waits at the broker, for so many tasks; a standing lane may have several.
    Armed {
        /// The oldest of them.
        first: u64,
        /// The newest.
        id: u64,
        left: usize,
        since: Instant,
        /// When the broker is to have said something again.
        due: Instant,
        /// When standing pulls end, all of them.
        until: Option<Instant>,
    },
}

/// The pulls of a worker's lanes.
#[derive(Debug)]
pub(crate) struct Pulls {
    lanes: Vec<(SessionLane, State)>,
    manner: Manner,
    /// The lane that brought the last task.
    hot: Option<SessionLane>,
    next_id: u64,
}

impl Pulls {
    /// For `lanes`, in any order.
    pub(crate) fn new(mut lanes: Vec<SessionLane>, manner: Manner) -> Self {
        lanes.sort_unstable();
        lanes.dedup();
        let lanes = lanes
            .into_iter()
            .map(|lane| (lane, State::Unknown))
            .collect();
        Self {
            lanes,
            manner,
            hot: None,
            next_id: 0,
        }
    }

    /// The pulls to send now, when `free` says how many tasks of a lane could start. What is
    /// returned counts as sent.
    pub(crate) fn plan(&mut self, now: Instant, free: impl Fn(SessionLane) -> usize) -> Vec<Pull> {
        self.expire(now);
        let mut pulls = self.stand(now, &free);
        for index in 0..self.lanes.len() {
            let (lane, state) = self.lanes[index];
            let room = free(lane);
            if room == 0 {
                // Nothing will wait there, so nobody hears what comes meanwhile.
                if state == State::Empty {
                    self.lanes[index].1 = State::Unknown;
                }
                continue;
            }
            match state {
                State::Unknown if self.manner == Manner::Capped => {
                    pulls.push(self.arm(index, 1, now));
                }
                State::Unknown => {
                    let batch = self.unclaimed(index, room);
                    pulls.push(self.sweep(index, batch, now));
                    return pulls;
                }
                // What is below waits for this lane's answer.
                State::Sweeping { .. } => return pulls,
                State::BackOff(_) | State::Empty | State::Armed { .. } => {}
            }
        }
        for index in 0..self.lanes.len() {
            let (lane, state) = self.lanes[index];
            let room = free(lane);
            if state == State::Empty && room > 0 {
                let batch = self.waiting_batch(index, room);
                pulls.push(self.arm(index, batch, now));
            }
        }
        pulls
    }

    /// Keeps the standing pulls of a lane at the number of its free slots.
    fn stand(&mut self, now: Instant, free: impl Fn(SessionLane) -> usize) -> Vec<Pull> {
        let mut pulls = Vec::new();
        for index in 0..self.lanes.len() {
            let (lane, state) = self.lanes[index];
            let State::Armed {
                left,
                until: Some(until),
                ..
            } = state
            else {
                continue;
            };
            let room = free(lane);
            let ending = now + OVERLAP >= until;
            if ending {
                self.lanes[index].1 = State::Unknown;
            }
            if ending && room > 0 {
                pulls.push(self.arm(index, room, now));
            } else if !ending && left < room {
                pulls.push(self.arm(index, room - left, now));
            }
        }
        pulls
    }

    /// How many tasks a waiting pull asks for.
    fn waiting_batch(&self, index: usize, room: usize) -> usize {
        let hot = self.hot == Some(self.lanes[index].0);
        match self.manner {
            Manner::Shared if !hot => 1,
            Manner::Capped => 1,
            Manner::Shared | Manner::Standing => self.unclaimed(index, room),
        }
    }

    /// How many of `room` free slots a pull may ask for: those that no armed pull of another lane
    /// may fill. One in any case. Where pulls stand for all slots, each lane asks for all.
    fn unclaimed(&self, index: usize, room: usize) -> usize {
        if self.manner == Manner::Standing {
            return room;
        }
        let others = self.lanes.iter().enumerate().filter(|(i, _)| *i != index);
        let claimed: usize = others
            .map(|(_, (_, state))| match state {
                State::Armed { left, .. } => left - 1,
                _ => 0,
            })
            .sum();
        room.saturating_sub(claimed).max(1)
    }

    /// When a task of `lane` that has arrived may start: now, at a time, or after news of a
    /// higher lane (`None`).
    pub(crate) fn may_start(&self, lane: SessionLane, now: Instant) -> Option<Instant> {
        let above = self.lanes.iter().take_while(|(higher, _)| *higher < lane);
        above
            .map(|(_, state)| match state {
                State::Sweeping { .. } => None,
                State::Armed { since, .. } if self.manner == Manner::Capped => {
                    Some(*since + SETTLE)
                }
                _ => Some(now),
            })
            .try_fold(now, |latest, at| at.map(|at| latest.max(at)))
    }

    /// Whether a pull may bring something yet.
    pub(crate) fn any_wait(&self) -> bool {
        let waits = |state: &State| matches!(state, State::Sweeping { .. } | State::Armed { .. });
        self.lanes.iter().any(|(_, state)| waits(state))
    }

    /// A task of `lane` arrived.
    pub(crate) fn arrived(&mut self, lane: SessionLane, now: Instant) {
        self.hot = Some(lane);
        let standing = self.manner == Manner::Standing;
        let Some(state) = self.state(lane) else {
            return;
        };
        match state {
            State::Sweeping { left, .. } if *left > 1 => *left -= 1,
            State::Armed { left, due, .. } if *left > 1 => {
                *left -= 1;
                // The broker counts a task as a sign of life and puts its heartbeat off.
                if standing {
                    *due = now + DEAF_AFTER;
                }
            }
            State::Sweeping { .. } | State::Armed { .. } | State::Empty => *state = State::Unknown,
            State::Unknown | State::BackOff(_) => {}
        }
    }

    /// The broker said something of pull `id` of `lane`.
    pub(crate) fn status(&mut self, lane: SessionLane, id: u64, status: Status, now: Instant) {
        let capped = self.manner == Manner::Capped;
        let Some(state) = self.state(lane) else {
            return;
        };
        match *state {
            State::Sweeping { id: current, .. } if current == id => {}
            State::Armed {
                first, id: newest, ..
            } if (first..=newest).contains(&id) => {}
            _ => return,
        }
        match (status, &mut *state) {
            (Status::Heartbeat, State::Armed { due, .. }) => *due = now + DEAF_AFTER,
            (Status::Heartbeat, _) => {}
            // An own lane's pull only waits, so its end says nothing of what is there.
            (Status::Empty, _) if capped => *state = State::Unknown,
            (Status::Empty, State::Armed { since, .. }) => {
                let unused = now.duration_since(*since) >= HOT_EXPIRES;
                *state = State::Empty;
                if unused && self.hot == Some(lane) {
                    self.hot = None;
                }
            }
            (Status::Empty, _) => *state = State::Empty,
            (Status::Refused, _) => *state = State::BackOff(now + BACK_OFF),
        }
    }

    /// The connection is new: the broker knows none of the pulls.
    pub(crate) fn forget_all(&mut self) {
        for (_, state) in &mut self.lanes {
            *state = State::Unknown;
        }
    }

    /// When [`Pulls::plan`] has something to do even if nothing arrives.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let at = self.lanes.iter().filter_map(|(_, state)| match state {
            State::BackOff(until) => Some(*until),
            State::Sweeping { since, .. } => Some(*since + SWEEP_LOST_AFTER),
            State::Armed { due, until, .. } => {
                let ending = until.map_or(*due, |until| until - OVERLAP);
                Some(ending.min(*due))
            }
            State::Unknown | State::Empty => None,
        });
        at.min()
    }

    fn state(&mut self, lane: SessionLane) -> Option<&mut State> {
        self.lanes
            .iter_mut()
            .find(|(l, _)| *l == lane)
            .map(|(_, state)| state)
    }

    fn expire(&mut self, now: Instant) {
        for (lane, state) in &mut self.lanes {
            let lost = match *state {
                State::BackOff(until) => now >= until,
                State::Sweeping { since, .. } => now >= since + SWEEP_LOST_AFTER,
                State::Armed { due, .. } => now >= due,
                State::Unknown | State::Empty => false,
            };
            if lost {
                if matches!(state, State::Armed { .. } | State::Sweeping { .. }) {
                    tracing::warn!(lane = lane.id(), "the broker is silent; asking again");
                }
                *state = State::Unknown;
            }
        }
    }

    fn sweep(&mut self, index: usize, batch: usize, now: Instant) -> Pull {
        self.next_id += 1;
        let id = self.next_id;
        self.lanes[index].1 = State::Sweeping {
            id,
            left: batch,
            since: now,
        };
        Pull {
            lane: self.lanes[index].0,
            id,
            batch,
            wait: None,
        }
    }

    /// Leaves a pull at the broker, beside the standing ones that wait there already, and not for
    /// longer than they.
    fn arm(&mut self, index: usize, batch: usize, now: Instant) -> Pull {
        self.next_id += 1;
        let id = self.next_id;
        let (first, waiting, beside) = match self.lanes[index].1 {
            State::Armed {
                first, left, until, ..
            } => (first, left, until),
            _ => (id, 0, None),
        };
        let standing = self.manner == Manner::Standing;
        let until = standing.then(|| beside.unwrap_or(now + STANDING_EXPIRES));
        let (wait, silence) = match until {
            Some(until) => (standing_for(until - now), DEAF_AFTER),
            None if batch > 1 => {
                let (expires, heartbeat) = (HOT_EXPIRES, None);
                (Wait { expires, heartbeat }, HOT_EXPIRES + SWEEP_LOST_AFTER)
            }
            None => {
                let (expires, heartbeat) = (EXPIRES, Some(HEARTBEAT));
                (Wait { expires, heartbeat }, DEAF_AFTER)
            }
        };
        self.lanes[index].1 = State::Armed {
            first,
            id,
            left: waiting + batch,
            since: now,
            due: now + silence,
            until,
        };
        Pull {
            lane: self.lanes[index].0,
            id,
            batch,
            wait: Some(wait),
        }
    }
}

/// The broker refuses heartbeats in a pull that is shorter than two of them.
fn standing_for(expires: Duration) -> Wait {
    let heartbeat = (expires >= HEARTBEAT * 2).then_some(HEARTBEAT);
    Wait { expires, heartbeat }
}

#[cfg(test)]
#[path = "pulls_tests.rs"]
mod tests;
