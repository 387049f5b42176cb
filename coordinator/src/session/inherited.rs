//! Tasks that an earlier process of the session left at the broker. In a pool they count against
//! the caps of the lanes until they are gone, so that a restart never doubles what runs. (In an
//! own lane the broker counts, over all processes.)

use std::sync::{Arc, Weak};
use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, TaskStream};
use a3s_shared::protocol::{Route, SessionLane};
use futures::TryStreamExt;
use futures::future::try_join_all;
use tokio::time::sleep;

use super::core::Core;

/// How often what is left is counted. Results of such tasks are noticed at once; counting is for
/// those whose result was stored before we listened.
const COUNT_EVERY: Duration = Duration::from_secs(1);

impl Core {
    /// Counts what is there, and follows it until it is gone.
    pub(super) async fn inherit(self: &Arc<Self>) -> Result<(), BrokerError> {
        if self.route == Route::Own {
            return Ok(());
        }
        let found = count(&self.hub.broker, &self.id, &self.route).await?;
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
        match count(&core.hub.broker, &core.id, &core.route).await {
            Ok(stored) if core.recounted(stored) => return,
            Ok(_) => {}
            Err(error) => tracing::debug!(session.id = core.id, %error, "not counted"),
        }
    }
}

/// How many tasks of the session are queued or running, by lane.
async fn count(broker: &Broker, session: &str, route: &Route) -> Result<[usize; 4], BrokerError> {
    let counts = SessionLane::ALL.map(|lane| count_lane(broker, session, route, lane));
    let counts = try_join_all(counts).await?;
    Ok(std::array::from_fn(|lane| counts[lane]))
}

async fn count_lane(
    broker: &Broker,
    session: &str,
    route: &Route,
    lane: SessionLane,
) -> Result<usize, BrokerError> {
    let unreachable = |reason: String| BrokerError::Unreachable {
        what: format!("count the tasks of session {session}"),
        reason,
    };
    let stream = broker.names().tasks(TaskStream::Pool);
    let stream = broker.jetstream().get_stream_no_info(stream).await;
    let stream = stream.map_err(|e| unreachable(e.to_string()))?;
    let subject = broker.names().task(session, lane, route);
    let found = stream.info_with_subjects(subject).await;
    let found = found.map_err(|e| unreachable(e.to_string()))?;
    let counts: Result<Vec<(String, usize)>, _> = found.try_collect().await;
    let counts = counts.map_err(|e| unreachable(e.to_string()))?;
    Ok(counts.into_iter().map(|(_, count)| count).sum())
}
