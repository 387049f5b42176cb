//! A task without an outcome, and who hears what it is told.
//!
//! Most tasks go to a worker and come back with a result a moment later. While they are in flight,
//! nothing runs for them here: there is only this entry. Whatever else becomes of one (it takes long, it is
//! cancelled, the broker did not accept it) wakes it: a future takes over (`external`).

use a3s_shared::protocol::SessionLane;
use futures::channel::mpsc;
use tokio::time::Instant;

use super::job::{Job, SIGNALS_KEPT, Signal};
use crate::scheduler::Ticket;

/// A task without an outcome.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) lane: SessionLane,
    pub(super) external: bool,
    /// Whether it was given to the broker: it counts what is queued there.
    pub(super) published: bool,
    /// In the broker's time, milliseconds since 1970.
    pub(super) deadline_ms: u64,
    /// In the broker's time too.
    pub(super) submitted_ms: u64,
    /// Where it waits; None once it has started.
    pub(super) ticket: Option<Ticket>,
    pub(super) listener: Listener,
}

/// Who hears what a task is told.
#[derive(Debug)]
pub(super) enum Listener {
    /// Nobody yet: it is kept.
    Nobody(Vec<Signal>),
    /// The future that runs it.
    Future(mpsc::Sender<Signal>),
    /// Nobody: a worker has it, and the first thing that it is told wakes it.
    InFlight {
        job: Box<Job>,
        /// When it is woken if nothing happens before.
        until: Instant,
    },
}

/// What became of a signal.
#[derive(Debug)]
pub(super) enum Told {
    /// It was heard, or will be.
    Heard,
    /// It was, and a future must take over.
    Woken(Box<Job>),
    /// There is nobody any more to hear it.
    Unheard,
}

impl Listener {
    pub(super) fn tell(&mut self, signal: Signal) -> Told {
        match self {
            Self::Nobody(kept) => {
                if kept.len() < SIGNALS_KEPT {
                    kept.push(signal);
                }
                Told::Heard
            }
            Self::Future(signals) => match signals.try_send(signal) {
                Err(error) if error.is_disconnected() => Told::Unheard,
                _ => Told::Heard,
            },
            Self::InFlight { .. } => match self.wake(Some(signal)) {
                Some(job) => Told::Woken(job),
                None => Told::Unheard,
            },
        }
    }

    pub(super) fn has_heard_nothing(&self) -> bool {
        matches!(self, Self::Nobody(kept) if kept.is_empty())
    }

    /// The future that runs the task listens from now on.
    pub(super) fn listen(&mut self) -> mpsc::Receiver<Signal> {
        let (mut signals, heard) = mpsc::channel(SIGNALS_KEPT);
        if let Self::Nobody(kept) = self {
            for signal in kept.drain(..) {
                let _ = signals.try_send(signal);
            }
        }
        *self = Self::Future(signals);
        heard
    }

    /// A task in flight, for a future that listens to it; None when it is not.
    pub(super) fn wake(&mut self, signal: Option<Signal>) -> Option<Box<Job>> {
        if !matches!(self, Self::InFlight { .. }) {
            return None;
        }
        let kept = Self::Nobody(signal.into_iter().collect());
        let Self::InFlight { mut job, .. } = std::mem::replace(self, kept) else {
            return None;
        };
        job.signals = Some(self.listen());
        Some(job)
    }
}
