//! Session records: written by whoever comes first, changed by whoever read last.

use std::collections::BTreeMap;

use a3s_shared::broker::BrokerError;
use a3s_shared::protocol::{Route, SessionRecord, SessionState};
use futures::future::join_all;

use crate::{Rig, connect};

fn record(route: Route) -> SessionRecord {
    SessionRecord {
        session_id: "s".into(),
        route,
        state: SessionState::Open,
        lanes: BTreeMap::new(),
        created_at_ms: 7,
        cancelled_before_ms: 0,
    }
}

#[tokio::test]
async fn of_ten_that_open_a_session_one_decides_its_route() {
    let rig = Rig::start().await;
    let brokers = join_all((0..10).map(|_| connect(&rig.server))).await;
    let all = join_all(brokers.iter().enumerate().map(async |(n, broker)| {
        let mine = record(Route::Pool(format!("pool-{n}")));
        let created = broker.create_session(&mine).await;
        (mine, created)
    }));
    let mut won = Vec::new();
    for (mine, created) in all.await {
        match created {
            Ok(revision) => won.push((mine, revision)),
            Err(error) => assert!(matches!(error, BrokerError::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(won.len(), 1, "one winner");
    let kept = rig.broker.session("s").await.expect("an answer");
    assert_eq!(kept, won.pop());
}

#[tokio::test]
async fn a_session_changes_only_as_it_was_read_and_can_be_opened_again() {
    let rig = Rig::start().await;
    let first = rig
        .broker
        .create_session(&record(Route::Own))
        .await
        .expect("created");
    let paused = SessionRecord {
        state: SessionState::Paused,
        ..record(Route::Own)
    };
    let second = rig
        .broker
        .update_session(&paused, first)
        .await
        .expect("updated");
    let stale = rig.broker.update_session(&record(Route::Own), first).await;
    assert!(
        matches!(stale, Err(BrokerError::Conflict { .. })),
        "{stale:?}"
    );
    let all = rig.broker.sessions().await.expect("sessions");
    assert_eq!(all, std::slice::from_ref(&paused));
    let kept = rig.broker.session("s").await.expect("an answer");
    assert_eq!(kept, Some((paused, second)));
    rig.broker.remove_session("s").await.expect("removed");
    assert_eq!(rig.broker.session("s").await.expect("an answer"), None);
    assert_eq!(rig.broker.sessions().await.expect("sessions"), []);
    rig.broker
        .create_session(&record(Route::Own))
        .await
        .expect("created again");
}
