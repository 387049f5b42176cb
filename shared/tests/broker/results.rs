//! Results: the first is the only one; and the dead letters beside them.

use a3s_shared::broker::{BLOB_THRESHOLD, Settings, Stored};
use a3s_shared::protocol::{DeadLetter, Encoding, SessionLane};
use a3s_testkit::Server;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{BOUND, Rig, connect, result};

#[tokio::test]
async fn of_ten_results_at_once_one_is_stored_and_shown_once() {
    let rig = Rig::start().await;
    let mut feed = rig
        .broker
        .subscribe_results("s")
        .await
        .expect("results are heard");
    let brokers = join_all((0..10).map(|_| connect(&rig.server))).await;
    let all = join_all(brokers.iter().enumerate().map(async |(n, broker)| {
        let mine = result("t", &format!("worker-{n}"));
        let stored = broker.publish_result(&mine, Encoding::MessagePack).await;
        (mine, stored.expect("an answer"))
    }));
    let firsts = all
        .await
        .into_iter()
        .filter(|(_, stored)| *stored == Stored::First);
    let firsts: Vec<_> = firsts.map(|(mine, _)| mine).collect();
    assert_eq!(firsts.len(), 1, "one winner");
    // The next thing on the feed after it is the result of another task: nothing came twice.
    let last = result("last", "worker");
    rig.broker
        .publish_result(&last, Encoding::Json)
        .await
        .expect("stored");
    let mut next = async || {
        timeout(BOUND, feed.next())
            .await
            .expect("in time")
            .expect("open")
    };
    assert_eq!((next().await, next().await), (firsts[0].clone(), last));
    let kept = rig.broker.result("s", "t").await.expect("an answer");
    assert_eq!(kept.as_ref(), Some(&firsts[0]));
    assert_eq!(rig.count("A3S_RESULTS").await, 2);
}

#[tokio::test]
async fn a_result_that_is_forgotten_makes_room_for_another() {
    let rig = Rig::start().await;
    rig.broker
        .publish_result(&result("t", "old"), Encoding::Json)
        .await
        .expect("stored");
    rig.broker.forget_result("s", "t").await.expect("forgotten");
    assert!(!rig.broker.has_result("s", "t").await.expect("an answer"));
    let again = rig
        .broker
        .publish_result(&result("t", "new"), Encoding::Json)
        .await;
    assert_eq!(again.expect("an answer"), Stored::First);
}

#[tokio::test]
async fn a_full_stream_of_results_makes_room_instead_of_refusing() {
    let small = Settings {
        stream_mib: 1,
        ..Settings::default()
    };
    let rig = Rig::with(Server::start().await, &small).await;
    for n in 0..10 {
        let mut large = result(&format!("t{n}"), "w");
        large.result = json!({ "output": "x".repeat(200_000) });
        let stored = rig.broker.publish_result(&large, Encoding::Json).await;
        assert_eq!(stored.expect("an answer"), Stored::First);
    }
    assert!(rig.broker.has_result("s", "t9").await.expect("an answer"));
    assert!(!rig.broker.has_result("s", "t0").await.expect("an answer"));
}

#[tokio::test]
async fn a_large_result_passes_although_messages_are_small() {
    let server = Server::builder().config("max_payload: 256KB").start().await;
    let rig = Rig::with(server, &Settings::default()).await;
    let mut feed = rig
        .broker
        .subscribe_results("s")
        .await
        .expect("results are heard");
    let mut large = result("t", "w");
    large.result = json!({ "output": "x".repeat(3 * BLOB_THRESHOLD) });
    rig.broker
        .publish_result(&large, Encoding::MessagePack)
        .await
        .expect("stored");
    let heard = timeout(BOUND, feed.next()).await.expect("in time");
    assert_eq!(heard.as_ref(), Some(&large));
    assert_eq!(
        rig.broker.result("s", "t").await.expect("an answer"),
        Some(large)
    );
}

pub(crate) fn letter(id: &str) -> DeadLetter {
    DeadLetter {
        task_id: id.into(),
        session_id: "s".into(),
        lane: SessionLane::Query,
        command_type: "read".into(),
        error: "first".into(),
        attempts: 4,
        failed_at: 1,
        history: vec![],
        payload: Value::Null,
        subject: "a3s.s.query".into(),
        headers: vec![
            ("Nats-Msg-Id".into(), id.into()),
            ("A3s-Deadline".into(), "1".into()),
            ("A3s-Effect".into(), "idempotent".into()),
        ],
        body: BASE64.encode(r#"{"command_type":"read"}"#),
    }
}

#[tokio::test]
async fn a_task_is_buried_once_and_the_first_letter_stays() {
    let rig = Rig::start().await;
    let second = DeadLetter {
        error: "second".into(),
        ..letter("t")
    };
    assert_eq!(
        rig.broker.bury(&letter("t")).await.expect("kept"),
        Stored::First
    );
    assert_eq!(
        rig.broker.bury(&second).await.expect("an answer"),
        Stored::AlreadyThere
    );
    assert_eq!(
        rig.broker.dead_letters(Some("s")).await.expect("letters"),
        [letter("t")]
    );
    assert_eq!(
        rig.broker
            .dead_letters(Some("other"))
            .await
            .expect("letters"),
        []
    );
    assert!(rig.broker.forget(&letter("t")).await.expect("removed"));
    assert!(!rig.broker.forget(&letter("t")).await.expect("gone"));
}

#[tokio::test]
async fn a_full_stream_of_dead_letters_is_no_proof_that_a_letter_is_kept() {
    let rig = Rig::start().await;
    let stream = rig.broker.jetstream().get_stream("A3S_DLQ").await;
    let mut config = stream.expect("the stream").cached_info().config.clone();
    config.max_bytes = 1024;
    let changed = rig.broker.jetstream().update_stream(config).await;
    changed.expect("the stream is small now");
    let large = DeadLetter {
        body: "x".repeat(2_000),
        ..letter("t")
    };
    let refused = rig.broker.bury(&large).await.expect_err("it does not fit");
    assert!(
        refused.to_string().contains("maximum bytes exceeded"),
        "{refused}"
    );
}
