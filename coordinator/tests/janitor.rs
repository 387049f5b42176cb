//! What the broker gave up itself ends among the dead letters, exactly once, whoever dies.

use std::time::Duration;

use a3s_coordinator::Coordinator;
use a3s_shared::broker::{Broker, Settings};
use a3s_shared::protocol::Outcome;
use a3s_shared::runtime::{Role, connect};
use a3s_testkit::{Server, eventually};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::StreamExt;

/// A lane whose consumer gives up after two deliveries, as no lane of ours does.
async fn impatient_lane(broker: &Broker) -> pull::Config {
    let stream = broker
        .jetstream()
        .get_stream("A3S_TASKS")
        .await
        .expect("the stream");
    stream
        .delete_consumer("pool-default-query")
        .await
        .expect("it was there");
    let config = pull::Config {
        durable_name: Some("pool-default-query".to_owned()),
        filter_subject: "a3s.*.query".to_owned(),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_millis(300),
        max_deliver: 2,
        ..pull::Config::default()
    };
    stream
        .create_consumer(config.clone())
        .await
        .expect("the consumer");
    config
}

/// Takes deliveries and never answers, until nothing is delivered any more.
async fn take_and_die(broker: &Broker) {
    let found = broker
        .jetstream()
        .get_consumer_from_stream("pool-default-query", "A3S_TASKS");
    let consumer: async_nats::jetstream::consumer::PullConsumer = found.await.expect("it is there");
    loop {
        let pull = consumer
            .batch()
            .max_messages(100)
            .expires(Duration::from_secs(1));
        let messages = pull.messages().await.expect("a pull");
        if messages.count().await == 0 {
            return;
        }
    }
}

#[tokio::test]
async fn what_the_broker_gave_up_is_buried_once_and_its_caller_hears_of_it() {
    let server = Server::start().await;
    let broker = Broker::new(server.client().await, None, "a3s").expect("a valid prefix");
    broker
        .ensure(&Settings::default())
        .await
        .expect("the streams");
    impatient_lane(&broker).await;
    for n in 0..20 {
        let body = format!(r#"{{"task_id":"t{n}","command_type":"read","payload":{{"n":{n}}}}}"#);
        let sent = broker.jetstream().publish("a3s.s.query", body.into()).await;
        sent.expect("it is sent").await.expect("it is stored");
    }
    take_and_die(&broker).await;

    // Two janitors at once, as with two coordinators.
    let mut coordinators = Vec::new();
    for name in ["one", "two"] {
        let role = Role::coordinator(name);
        let connection = connect(&server.options(), &role)
            .await
            .expect("a connection");
        let started = Coordinator::start(connection, Settings::default()).await;
        coordinators.push(started.expect("a coordinator"));
    }
    eventually(
        "all are buried and removed",
        Duration::from_secs(30),
        async || {
            let letters = broker
                .dead_letters(Some("s"))
                .await
                .map_err(|e| e.to_string())?;
            let left = broker
                .scan("A3S_TASKS", ">", 1)
                .await
                .map_err(|e| e.to_string())?;
            let state = format!("{} letters, {} tasks left", letters.len(), left.len());
            (letters.len() == 20 && left.is_empty())
                .then_some(())
                .ok_or(state)
        },
    )
    .await;
    for n in 0..20 {
        let result = broker
            .result("s", &format!("t{n}"))
            .await
            .expect("an answer");
        assert_eq!(
            result.map(|r| r.outcome()),
            Some(Outcome::DeadLettered),
            "t{n}"
        );
    }
    let letter = broker
        .dead_letters(Some("s"))
        .await
        .expect("letters")
        .remove(0);
    assert_eq!((letter.attempts, letter.command_type.as_str()), (2, "read"));
    assert!(
        letter.error.contains("gave it up after 2 deliveries"),
        "{}",
        letter.error
    );
    for coordinator in coordinators {
        coordinator.close().await;
    }
}
