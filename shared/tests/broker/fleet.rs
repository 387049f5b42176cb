//! The live view of the workers.

use std::collections::BTreeMap;

use a3s_shared::broker::Fleet;
use a3s_shared::protocol::{Presence, Serves, SessionLane};
use a3s_testkit::eventually;

use crate::{BOUND, Rig};

fn presence(id: &str) -> Presence {
    Presence {
        worker_id: id.into(),
        host: "here".into(),
        pid: 1,
        version: "0.1.0".into(),
        runtime: "rust".into(),
        serves: Serves::Pool("default".into()),
        lanes: SessionLane::ALL.to_vec(),
        tools: vec![],
        tool_digest: None,
        slots: 4,
        busy: 0,
        done: 0,
        workspace: "/".into(),
        labels: BTreeMap::new(),
        sandbox: None,
        started_at_ms: 1,
        last_pull_ms: 0,
        seen_at_ms: 1,
        draining: false,
        refused: 0,
    }
}

fn ids(fleet: &Fleet) -> Vec<String> {
    fleet.workers().into_iter().map(|w| w.worker_id).collect()
}

async fn sees(fleet: &Fleet, expected: &[&str]) {
    eventually("the fleet is seen", BOUND, async || {
        let ids = ids(fleet);
        (ids == expected)
            .then_some(())
            .ok_or_else(|| format!("{ids:?}"))
    })
    .await;
}

#[tokio::test]
async fn who_is_there_is_known_at_once_and_who_leaves_is_gone() {
    let rig = Rig::start().await;
    rig.broker
        .announce(&presence("a"))
        .await
        .expect("announced");
    let mut fleet = rig.broker.watch_fleet().await.expect("a view");
    assert_eq!(ids(&fleet), ["a"], "without waiting");
    rig.broker
        .announce(&presence("b"))
        .await
        .expect("announced");
    tokio::time::timeout(BOUND, fleet.changed())
        .await
        .expect("news is told");
    sees(&fleet, &["a", "b"]).await;
    rig.broker.depart("a").await.expect("gone");
    sees(&fleet, &["b"]).await;
}

#[tokio::test]
async fn the_view_goes_on_after_the_server_was_away() {
    let mut rig = Rig::start().await;
    rig.broker
        .announce(&presence("a"))
        .await
        .expect("announced");
    let fleet = rig.broker.watch_fleet().await.expect("a view");
    rig.server.restart().await;
    eventually("the newcomer is seen", BOUND, async || {
        rig.broker
            .announce(&presence("b"))
            .await
            .map_err(|e| e.to_string())?;
        let ids = ids(&fleet);
        ids.contains(&"b".to_owned())
            .then_some(())
            .ok_or_else(|| format!("{ids:?}"))
    })
    .await;
}
