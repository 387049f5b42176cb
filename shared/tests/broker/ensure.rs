//! Creating what is missing, and telling what differs.

use std::collections::BTreeSet;
use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, Drift, Settings};
use a3s_testkit::Server;
use async_nats::jetstream::consumer::{Config as AnyConsumer, pull};
use async_nats::jetstream::stream::Config;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};

use crate::{Rig, connect};

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn stream_names(rig: &Rig) -> BTreeSet<String> {
    let names = rig.broker.jetstream().stream_names();
    names.map(|name| name.expect("a name")).collect().await
}

async fn change_stream(rig: &Rig, name: &str, change: impl FnOnce(&mut Config)) {
    let stream = rig
        .broker
        .jetstream()
        .get_stream(name)
        .await
        .expect("the stream");
    let mut config = stream.cached_info().config.clone();
    change(&mut config);
    let changed = rig.broker.jetstream().update_stream(config).await;
    changed.expect("the stream is changed");
}

fn drift(of: &str, field: &str, found: &str, expected: &str) -> Drift {
    Drift {
        of: of.into(),
        field: field.into(),
        found: found.into(),
        expected: expected.into(),
    }
}

#[tokio::test]
async fn everything_is_created_once_and_a_second_time_is_no_change() {
    let rig = Rig::start().await;
    let expected = [
        "A3S_TASKS",
        "A3S_OWN",
        "A3S_RATES",
        "A3S_RESULTS",
        "A3S_CLAIMS",
        "A3S_CANCELS",
        "A3S_DLQ",
        "A3S_ADVISORIES",
        "A3S_WORKSPACES",
        "KV_a3s_sessions",
        "KV_a3s_workers",
        "OBJ_a3s_blobs",
    ];
    let expected: BTreeSet<_> = expected.into_iter().map(str::to_owned).collect();
    assert_eq!(stream_names(&rig).await, expected);
    let again = rig.broker.ensure(&Settings::default()).await;
    assert_eq!(again.expect("nothing is wrong"), []);
    assert_eq!(stream_names(&rig).await, expected);
    let tasks = rig
        .broker
        .jetstream()
        .get_stream("A3S_TASKS")
        .await
        .expect("tasks");
    let consumers: Vec<String> = tasks
        .consumer_names()
        .try_collect()
        .await
        .expect("consumers");
    let consumers: BTreeSet<_> = consumers.into_iter().collect();
    let lanes = ["control", "execute", "generate", "query"];
    assert_eq!(
        consumers,
        lanes.map(|lane| format!("pool-default-{lane}")).into()
    );
}

#[tokio::test]
async fn ten_that_start_at_once_all_find_it_right() {
    let server = Server::start().await;
    let brokers = join_all((0..10).map(|_| connect(&server))).await;
    let settings = Settings::default();
    let all = join_all(brokers.iter().map(async |broker| {
        let mut drift = broker.ensure(&settings).await?;
        drift.extend(broker.ensure_pool("eu", &settings).await?);
        drift.extend(broker.ensure_own("s", [2, 4, 2, 1], &settings).await?);
        Ok::<_, BrokerError>(drift)
    }));
    for drift in all.await {
        assert_eq!(drift.expect("none of them fails"), []);
    }
}

#[tokio::test]
async fn drift_is_told_and_nothing_is_changed() {
    let rig = Rig::start().await;
    change_stream(&rig, "A3S_DLQ", |config| config.max_age = DAY).await;
    let longer = Settings {
        ack_wait: Duration::from_secs(60),
        ..Settings::default()
    };
    for _ in 0..2 {
        let told = rig
            .broker
            .ensure(&longer)
            .await
            .expect("drift is no failure");
        let mut expected = vec![drift(
            "A3S_DLQ",
            "max_age",
            "86400000000000",
            "2592000000000000",
        )];
        for lane in ["control", "query", "execute", "generate"] {
            let of = format!("A3S_TASKS consumer pool-default-{lane}");
            expected.push(drift(&of, "ack_wait", "15000000000", "60000000000"));
        }
        assert_eq!(told, expected);
    }
    assert_eq!(
        drift("A3S_DLQ", "max_age", "1", "2").to_string(),
        "A3S_DLQ: max_age is 1, expected 2"
    );
}

#[tokio::test]
async fn the_layout_of_a_newer_version_is_refused() {
    let rig = Rig::start().await;
    change_stream(&rig, "A3S_RESULTS", |config| {
        config.metadata.insert("a3s.schema".into(), "2".into());
    })
    .await;
    let refused = rig
        .broker
        .ensure(&Settings::default())
        .await
        .expect_err("schema 2");
    assert_eq!(
        refused.to_string(),
        "A3S_RESULTS has schema 2, this program knows 1: use a newer version of it"
    );
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_what_it_lacks() {
    let server = Server::builder().without_jetstream().start().await;
    let refused = connect(&server).await.ensure(&Settings::default()).await;
    let message = refused.expect_err("no JetStream").to_string();
    assert!(
        message.contains("JetStream is not enabled; start nats-server with -js"),
        "{message}"
    );
}

#[tokio::test]
async fn a_domain_that_nobody_answers_for_is_told_with_what_to_look_at() {
    let server = Server::start().await;
    let client = async_nats::connect(server.url()).await.expect("a client");
    let broker = Broker::new(client, Some("nowhere"), "a3s").expect("a prefix");
    let refused = broker.ensure(&Settings::default()).await;
    let message = refused.expect_err("no such domain").to_string();
    for part in ["domain", "leaf link", "--js-domain"] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn the_caps_of_own_lanes_follow_their_session_and_nothing_else_does() {
    let rig = Rig::start().await;
    let settings = Settings::default();
    let caps = async || {
        let stream = rig
            .broker
            .jetstream()
            .get_stream("A3S_OWN")
            .await
            .expect("own");
        let mut caps = Vec::new();
        for lane in ["control", "query", "execute", "generate"] {
            let consumer = stream
                .get_consumer::<AnyConsumer>(&format!("own-s-{lane}"))
                .await;
            caps.push(
                consumer
                    .expect("the consumer")
                    .cached_info()
                    .config
                    .max_ack_pending,
            );
        }
        caps
    };
    rig.broker
        .ensure_own("s", [2, 4, 2, 1], &settings)
        .await
        .expect("created");
    assert_eq!(caps().await, [2, 4, 2, 1]);
    let other = Settings {
        ack_wait: Duration::from_secs(60),
        ..settings
    };
    let told = rig
        .broker
        .ensure_own("s", [2, 8, 1, 1], &other)
        .await
        .expect("updated");
    assert_eq!(caps().await, [2, 8, 1, 1]);
    let fields: BTreeSet<_> = told.iter().map(|d| d.field.as_str()).collect();
    assert_eq!(fields, ["ack_wait"].into());
    let stream = rig
        .broker
        .jetstream()
        .get_stream("A3S_OWN")
        .await
        .expect("own");
    let query = stream
        .get_consumer::<pull::Config>("own-s-query")
        .await
        .expect("the consumer");
    assert_eq!(query.cached_info().config.ack_wait, Duration::from_secs(15));
    assert_eq!(query.cached_info().config.max_waiting, 10_000);
}

#[tokio::test]
async fn a_server_without_room_says_what_would_make_room() {
    // Too little for the streams; enough for them, and too little for the buckets beside them.
    for limit in ["1GB", "11GB"] {
        let store = tempfile::tempdir().expect("a directory");
        let store = store.path();
        let jetstream = format!("jetstream {{ store_dir: {store:?}, max_file_store: {limit} }}");
        let small = Server::builder().without_jetstream().config(&jetstream);
        let small = small.start().await;
        let refused = connect(&small).await.ensure(&Settings::default()).await;
        let refused = refused.expect_err("there is no room").to_string();
        assert!(refused.contains("max_file_store"), "{refused}");
        assert!(refused.contains("A3S_STREAM_MIB"), "{refused}");
    }
}
