//! One watch for all sessions of a process: what other processes write into their records. It is
//! how pausing, ending or changing a session on another machine reaches a running caller.

use std::sync::Weak;
use std::time::Duration;

use a3s_shared::broker::Broker;
use a3s_shared::protocol::{Encoding, SessionRecord};
use async_nats::jetstream::kv::{Entry, Operation, Watch};
use futures::StreamExt;
use tokio::time::sleep;

use crate::coordinator::Hub;

/// The wait before a watch that ended is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// Hands every change of a record to the sessions that it concerns.
pub(crate) async fn follow_records(broker: Broker, hub: Weak<Hub>) {
    loop {
        if let Some(mut changes) = watch(&broker).await {
            while let Some(Ok(change)) = changes.next().await {
                let Some(hub) = hub.upgrade() else { return };
                apply(&hub, &change);
            }
        }
        if hub.strong_count() == 0 {
            return;
        }
        sleep(REOPEN_AFTER).await;
    }
}

/// All records as they are, then every change: nothing is missed while the watch is opened again.
async fn watch(broker: &Broker) -> Option<Watch> {
    let bucket = broker.names().sessions_bucket();
    let opened = match broker.jetstream().get_key_value(bucket).await {
        Ok(bucket) => bucket
            .watch_with_history(">")
            .await
            .map_err(|e| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let say = |error: &String| tracing::debug!(error, "the watch on sessions is not open");
    opened.inspect_err(say).ok()
}

fn apply(hub: &Hub, change: &Entry) {
    if change.operation != Operation::Put {
        return;
    }
    let sessions = hub.sessions();
    let mut concerned = sessions
        .iter()
        .filter(|core| core.is(&change.key))
        .peekable();
    if concerned.peek().is_none() {
        return;
    }
    match Encoding::Json.decode::<SessionRecord>(&change.value) {
        Ok(record) => concerned.for_each(|core| core.follow_record(&record, change.revision)),
        Err(error) => {
            tracing::warn!(session.id = change.key, %error, "a session's record cannot be read");
        }
    }
}
