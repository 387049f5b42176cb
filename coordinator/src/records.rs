//! One watch for all sessions of a process: what other processes write into their records. It is
//! how pausing, ending or changing a session on another machine reaches a running caller.

use std::sync::Weak;
use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::SessionRecord;
use tokio::time::sleep;

use crate::coordinator::Hub;
use crate::each_session::follow_each;

/// The wait before a watch that ended is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// Hands every change of a record to the sessions that it concerns.
pub(crate) async fn follow_records(broker: Broker, hub: Weak<Hub>) {
    while hub.strong_count() > 0 {
        match follow(&broker, &hub, None).await {
            Err(error) if error.is_denied() => return follow_own(broker, hub).await,
            Err(error) => tracing::debug!(%error, "the watch on sessions is not open"),
            Ok(()) => {}
        }
        sleep(REOPEN_AFTER).await;
    }
}

/// As a credential for single sessions can: a watch for each session that is open here.
async fn follow_own(broker: Broker, hub: Weak<Hub>) {
    let all = hub.clone();
    follow_each(&all, move |session| {
        let (broker, hub) = (broker.clone(), hub.clone());
        async move {
            loop {
                if let Err(error) = follow(&broker, &hub, Some(&session)).await {
                    tracing::debug!(session.id = session, %error, "its record is not watched");
                }
                sleep(REOPEN_AFTER).await;
            }
        }
    })
    .await;
}

/// All records as they are, then every change: nothing is missed while the watch is opened again.
async fn follow(
    broker: &Broker,
    hub: &Weak<Hub>,
    session: Option<&str>,
) -> Result<(), BrokerError> {
    let mut feed = broker.watch_records(session).await?;
    while let Some((record, revision)) = feed.next().await {
        let Some(hub) = hub.upgrade() else { break };
        apply(&hub, &record, revision);
    }
    Ok(())
}

fn apply(hub: &Hub, record: &SessionRecord, revision: u64) {
    for core in hub.sessions_of(&record.session_id) {
        core.follow_record(record, revision);
    }
}
