//! One watch for all sessions of a process: the cancel markers of their tasks. A task that still
//! waits in its caller's process is known to no worker; this is how it is cancelled from outside.

use std::sync::Weak;

use a3s_shared::broker::{Broker, Cancelled};

use crate::coordinator::Hub;
use crate::each_session::follow_each;

/// Hands every marker to the session that it concerns. Ends with the process's last session hub.
pub(crate) async fn follow_cancels(broker: Broker, hub: Weak<Hub>) {
    let mut feed = broker.watch_cancels(None);
    match feed.open().await {
        Ok(kept) => {
            for cancelled in &kept {
                hand_over(&hub, cancelled);
            }
        }
        Err(error) if error.is_denied() => return follow_own(broker, hub).await,
        // The feed opens itself when the broker is there again.
        Err(_) => {}
    }
    while hub.strong_count() > 0 {
        hand_over(&hub, &feed.next().await);
    }
}

/// As a credential for single sessions can: a watch for each session that is open here.
async fn follow_own(broker: Broker, hub: Weak<Hub>) {
    let all = hub.clone();
    follow_each(&all, move |session| {
        let (broker, hub) = (broker.clone(), hub.clone());
        async move {
            let mut feed = broker.watch_cancels(Some(&session));
            loop {
                hand_over(&hub, &feed.next().await);
            }
        }
    })
    .await;
}

fn hand_over(hub: &Weak<Hub>, cancelled: &Cancelled) {
    let Some(hub) = hub.upgrade() else { return };
    let reason = match cancelled.marker.reason.as_str() {
        "" => "cancelled",
        reason => reason,
    };
    for core in hub.sessions_of(&cancelled.session) {
        core.heard_cancel(&cancelled.task_id, reason);
    }
}
