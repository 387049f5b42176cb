//! One lane: what waits, and how much has started.

use std::collections::VecDeque;

use super::{Edge, Waiting};

/// One lane of a session.
#[derive(Debug)]
pub(super) struct Lane<T> {
    /// What waits, by ascending number: pushed at the back, started at the front.
    pub(super) queue: VecDeque<(u64, Waiting<T>)>,
    /// Started and not ended.
    pub(super) active: usize,
    /// Those of them that count against the cap.
    held: usize,
    /// Slots held by tasks that another process started.
    pub(super) inherited: usize,
    /// Most tasks that may be held.
    pub(super) cap: usize,
    /// Whether the last edge was [`Edge::Pressure`].
    pressured: bool,
}

impl<T> Lane<T> {
    /// An empty lane.
    pub(super) fn new(cap: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            active: 0,
            held: 0,
            inherited: 0,
            cap,
            pressured: false,
        }
    }

    /// The first task, if it may start.
    pub(super) fn first_startable(&self) -> Option<(u64, &Waiting<T>)> {
        let (number, task) = self.queue.front()?;
        let free = !task.holds_slot || self.held + self.inherited < self.cap;
        free.then_some((*number, task))
    }

    /// Counts a task that starts.
    pub(super) fn start(&mut self, holds_slot: bool) {
        self.active += 1;
        self.held += usize::from(holds_slot);
    }

    /// Counts a task that ended.
    pub(super) fn finish(&mut self, holds_slot: bool) {
        self.active = self.active.saturating_sub(1);
        self.held = self.held.saturating_sub(usize::from(holds_slot));
    }

    /// Takes a task out of the queue, wherever it stands.
    pub(super) fn take(&mut self, number: u64) -> Option<Waiting<T>> {
        let place = self
            .queue
            .binary_search_by_key(&number, |(number, _)| *number)
            .ok()?;
        self.queue.remove(place).map(|(_, task)| task)
    }

    /// Whether the queue crossed `threshold` upwards, or became empty after that.
    pub(super) fn edge(&mut self, threshold: usize) -> Option<Edge> {
        let waiting = self.queue.len();
        if !self.pressured && waiting >= threshold {
            self.pressured = true;
            return Some(Edge::Pressure);
        }
        if self.pressured && waiting == 0 {
            self.pressured = false;
            return Some(Edge::Idle);
        }
        None
    }
}
