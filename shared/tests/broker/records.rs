//! Task records and cancel markers.

use a3s_shared::broker::BrokerError;
use a3s_shared::protocol::{CancelMarker, Claim, TaskRecord, clock};
use futures::future::join_all;
use tokio::time::timeout;

use crate::{BOUND, Rig, connect};

fn claim(worker: &str) -> TaskRecord {
    TaskRecord {
        claim: Some(Claim {
            worker_id: worker.into(),
            attempt: 1,
            at_ms: 7,
        }),
        ..TaskRecord::default()
    }
}

#[tokio::test]
async fn of_ten_claims_of_one_task_one_succeeds() {
    let rig = Rig::start().await;
    let brokers = join_all((0..10).map(|_| connect(&rig.server))).await;
    let deadline = clock::now_ms() + 60_000;
    let all = join_all(brokers.iter().enumerate().map(async |(n, broker)| {
        let record = claim(&format!("worker-{n}"));
        let written = broker.write_record("s", "t", &record, 0, deadline).await;
        (record, written)
    }));
    let mut won = Vec::new();
    for (record, written) in all.await {
        match written {
            Ok(revision) => won.push((record, revision)),
            Err(error) => assert!(matches!(error, BrokerError::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(won.len(), 1, "one winner");
    assert_eq!(rig.broker.record("s", "t").await.expect("a record"), won[0]);
}

#[tokio::test]
async fn a_record_is_written_over_the_revision_that_was_read_only() {
    let rig = Rig::start().await;
    let deadline = clock::now_ms() + 60_000;
    let write = async |worker: &str, revision| {
        rig.broker
            .write_record("s", "t", &claim(worker), revision, deadline)
            .await
    };
    let none = rig.broker.record("s", "t").await.expect("an answer");
    assert_eq!(none, (TaskRecord::default(), 0));
    let first = write("one", 0).await.expect("written");
    let second = write("two", first).await.expect("written");
    let stale = write("three", first).await.expect_err("a stale revision");
    assert_eq!(
        stale.to_string(),
        "a3s.s.claim.t: changed by somebody else meanwhile"
    );
    let kept = rig.broker.record("s", "t").await.expect("a record");
    assert_eq!(kept, (claim("two"), second));
}

#[tokio::test]
async fn a_cancel_marker_reaches_who_watches_and_who_comes_later() {
    let rig = Rig::start().await;
    let marker = CancelMarker {
        reason: "enough".into(),
        at_ms: 7,
    };
    let deadline = clock::now_ms() + 60_000;
    let mut early = rig.broker.watch_cancels(Some("s"));
    rig.broker
        .cancel("other", "x", &marker, deadline)
        .await
        .expect("kept");
    rig.broker
        .cancel("s", "t", &marker, deadline)
        .await
        .expect("kept");
    let mut late = rig.broker.watch_cancels(None);
    let heard = timeout(BOUND, early.next()).await.expect("in time");
    assert_eq!((heard.task_id.as_str(), &heard.marker), ("t", &marker));
    let first = timeout(BOUND, late.next()).await.expect("in time");
    let second = timeout(BOUND, late.next()).await.expect("in time");
    assert_eq!(
        (first.session.as_str(), second.session.as_str()),
        ("other", "s")
    );
    let found = rig.broker.is_cancelled("s", "t").await.expect("an answer");
    assert_eq!(found, Some(marker));
    assert_eq!(
        rig.broker.is_cancelled("s", "u").await.expect("an answer"),
        None
    );
    let stored = rig
        .broker
        .last("A3S_CANCELS", "a3s.s.cancel.t")
        .await
        .expect("an answer");
    let ttl = stored
        .as_ref()
        .and_then(|m| m.header("Nats-TTL"))
        .expect("it ends some day");
    let seconds: u64 = ttl.trim_end_matches('s').parse().expect("seconds");
    assert!(
        (3_600..=3_660).contains(&seconds),
        "an hour after the deadline: {ttl}"
    );
}
