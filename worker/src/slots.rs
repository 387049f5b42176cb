//! How many tasks run at a time. A slot is taken before a task starts and returns by itself.

use std::sync::Arc;

use a3s_shared::protocol::SessionLane;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// The slots of a worker: some for any lane, and one that only Control may take, so that a
/// cancel or pause never waits behind work.
#[derive(Debug, Clone)]
pub(crate) struct Slots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Mutex<Free>,
    total: usize,
    returned: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Free {
    any: usize,
    control: usize,
}

/// A taken slot; dropping it returns it.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    control: bool,
}

impl Slots {
    /// `total` slots for any lane, and the reserved one when the worker serves Control.
    pub(crate) fn new(total: usize, serves_control: bool) -> Self {
        let control = usize::from(serves_control);
        let free = Mutex::new(Free {
            any: total,
            control,
        });
        Self(Arc::new(Inner {
            free,
            total,
            returned: Notify::new(),
        }))
    }

    /// How many tasks of `lane` could start now.
    pub(crate) fn free(&self, lane: SessionLane) -> usize {
        let free = *self.0.free.lock();
        match lane {
            SessionLane::Control => free.any + free.control,
            _ => free.any,
        }
    }

    /// Takes a slot for a task of `lane`, the reserved one first when it may.
    pub(crate) fn take(&self, lane: SessionLane) -> Option<Slot> {
        let mut free = self.0.free.lock();
        let control = lane == SessionLane::Control && free.control > 0;
        let pool = if control {
            &mut free.control
        } else {
            &mut free.any
        };
        *pool = pool.checked_sub(1)?;
        drop(free);
        Some(Slot {
            slots: self.clone(),
            control,
        })
    }

    /// Slots for any lane that are taken.
    pub(crate) fn busy(&self) -> usize {
        self.0.total - self.0.free.lock().any
    }

    /// Resolves when a slot returned since the last call.
    pub(crate) async fn returned(&self) {
        self.0.returned.notified().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut free = self.slots.0.free.lock();
        if self.control {
            free.control += 1;
        } else {
            free.any += 1;
        }
        drop(free);
        self.slots.0.returned.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_has_a_slot_that_no_other_lane_can_take() {
        let slots = Slots::new(1, true);
        let query = slots.take(SessionLane::Query).expect("a free slot");
        assert!(slots.take(SessionLane::Query).is_none());
        assert_eq!(slots.free(SessionLane::Control), 1);
        let control = slots.take(SessionLane::Control).expect("the reserved slot");
        assert!(slots.take(SessionLane::Control).is_none());
        drop(control);
        assert_eq!((slots.busy(), slots.free(SessionLane::Query)), (1, 0));
        drop(query);
        assert_eq!((slots.busy(), slots.free(SessionLane::Control)), (0, 2));
    }
}
