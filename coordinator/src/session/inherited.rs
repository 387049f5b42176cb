//! Tasks that an earlier process of the session left at the broker. In a pool they count against
//! the caps of the lanes until they are gone, so that a restart never doubles what runs. (In an
//! own lane the broker counts, over all processes.)

use std::sync::{Arc, Weak};
use std::time::Duration;

use a3s_shared::broker::{BrokerError, TaskStream, header_pairs};
use a3s_shared::protocol::{DEFAULT_TIMEOUT_MS, Route, SessionLane, TaskHeaders, clock};
use futures::future::try_join_all;
use tokio::time::sleep;

use super::core::Core;

/// How often what is left is counted. Results of such tasks are noticed at once; counting is for
/// those whose result was stored before we listened.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// More tasks than this, or than the lane's cap, need not be told apart.
const ENOUGH: usize = 64;

impl Core {
    /// Counts what is there, and follows it until it is gone.
    pub(super) async fn inherit(self: &Arc<Self>) -> Result<(), BrokerError> {
        if self.route == Route::Own {
            return Ok(());
        }
        let found = count(self).await?;
        if found == [0; 4] {
            return Ok(());
        }
        {
            let mut state = self.state.lock();
            for lane in SessionLane::ALL {
                state.scheduler.set_inherited(lane, found[lane.index()]);
            }
        }
        tokio::spawn(follow(Arc::downgrade(self)));
        Ok(())
    }

    /// A task of the session that is not ours has a result.
    pub(super) fn inherited_ended(self: &Arc<Self>, lane: SessionLane) {
        {
            let mut state = self.state.lock();
            let left = state.scheduler.inherited(lane);
            if left == 0 {
                return;
            }
            state.scheduler.set_inherited(lane, left - 1);
        }
        self.pump();
    }

    /// Takes note of how many tasks are stored. True when none of an earlier process is left.
    fn recounted(self: &Arc<Self>, stored: [usize; 4]) -> bool {
        let mut left = 0;
        {
            let mut state = self.state.lock();
            for lane in SessionLane::ALL {
                let ours = state.scheduler.active(lane);
                let others = stored[lane.index()].saturating_sub(ours);
                let inherited = others.min(state.scheduler.inherited(lane));
                state.scheduler.set_inherited(lane, inherited);
                left += inherited;
            }
        }
        self.pump();
        left == 0
    }
}

async fn follow(core: Weak<Core>) {
    loop {
        sleep(COUNT_EVERY).await;
        let Some(core) = core.upgrade() else { return };
        match count(&core).await {
            Ok(stored) if core.recounted(stored) => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(session.id = core.id, %error, "not counted"),
        }
    }
}

/// How many tasks of the session are queued or may run, by lane.
async fn count(core: &Core) -> Result<[usize; 4], BrokerError> {
    let counts = SessionLane::ALL.map(|lane| {
        let enough = {
            let state = core.state.lock();
            state.scheduler.active(lane) + state.scheduler.cap(lane).max(ENOUGH)
        };
        count_lane(core, lane, enough)
    });
    let counts = try_join_all(counts).await?;
    Ok(std::array::from_fn(|lane| counts[lane]))
}

/// Reads the lane's tasks, up to `enough`. One whose time is over cannot run any more: it may lie
/// there for long, dead, and must not hold a slot.
async fn count_lane(core: &Core, lane: SessionLane, enough: usize) -> Result<usize, BrokerError> {
    let broker = &core.hub.broker;
    let stream = broker.names().tasks(TaskStream::Pool);
    let subject = broker.names().task(&core.id, lane, &core.route);
    let (mut alive, mut from) = (0, 1);
    while alive < enough {
        let message = match broker.next(&stream, &subject, from).await {
            Err(error) if error.is_denied() => return count_all(core, lane).await,
            message => message?,
        };
        let Some(message) = message else { break };
        let headers = TaskHeaders::read(header_pairs(&message.headers));
        let deadline_ms = headers.deadline(message.stored_at_ms, DEFAULT_TIMEOUT_MS);
        alive += usize::from(deadline_ms > clock::now_ms());
        from = message.sequence + 1;
    }
    Ok(alive)
}

/// As a credential for one session can, which may count what it may not read: the dead count too,
/// until the janitor of another process removes them.
async fn count_all(core: &Core, lane: SessionLane) -> Result<usize, BrokerError> {
    let stored = core.hub.broker.backlog(&core.id, &core.route).await?;
    Ok(stored[lane.index()].stored)
}
