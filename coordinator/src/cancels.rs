//! One watch for all sessions of a process: the cancel markers of their tasks. A task that still
//! waits in its caller's process is known to no worker; this is how it is cancelled from outside.

use std::sync::Weak;

use a3s_shared::broker::Broker;

use crate::coordinator::Hub;

/// Hands every marker to the session that it concerns. Ends with the process's last session hub.
pub(crate) async fn follow_cancels(broker: Broker, hub: Weak<Hub>) {
    let mut feed = broker.watch_cancels(None);
    loop {
        let cancelled = feed.next().await;
        let Some(hub) = hub.upgrade() else { return };
        let reason = match cancelled.marker.reason.as_str() {
            "" => "cancelled",
            reason => reason,
        };
        for core in hub.sessions() {
            if core.is(&cancelled.session) {
                core.heard_cancel(&cancelled.task_id, reason);
            }
        }
    }
}
