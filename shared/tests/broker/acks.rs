//! Acknowledging: several deliveries of one consumer, by one confirmation.

use a3s_shared::broker::Broker;
use a3s_shared::protocol::{DEFAULT_POOL, SessionLane};
use a3s_testkit::Proxy;
use async_nats::Subject;
use async_nats::jetstream::consumer::PullConsumer;
use futures::TryStreamExt;
use serde_json::json;

use crate::{Rig, options, pool, task};

const TASKS: usize = 100;

/// Has tasks delivered, and gives where the broker is told of each.
async fn delivered(rig: &Rig) -> (PullConsumer, Vec<Subject>) {
    for _ in 0..TASKS {
        let task = task(json!({}));
        let accepted = rig.broker.submit(&task, &pool(), &options()).await;
        accepted.expect("accepted");
    }
    let consumer = consumer(rig).await;
    let batch = consumer.fetch().max_messages(TASKS).messages().await;
    let batch: Vec<_> = batch
        .expect("a pull")
        .try_collect()
        .await
        .expect("the tasks");
    let replies = batch.into_iter().filter_map(|task| task.message.reply);
    (consumer, replies.collect())
}

async fn consumer(rig: &Rig) -> PullConsumer {
    let name = rig
        .broker
        .names()
        .pool_consumer(DEFAULT_POOL, SessionLane::Query);
    let stream = rig.broker.jetstream().get_stream("A3S_TASKS").await;
    let stream = stream.expect("the stream");
    stream.get_consumer(&name).await.expect("the consumer")
}

/// How many deliveries the broker waits for, and how many tasks it has.
async fn left(rig: &Rig, consumer: &mut PullConsumer) -> (usize, u64) {
    let pending = consumer.info().await.expect("an answer").num_ack_pending;
    (pending, rig.count("A3S_TASKS").await)
}

#[tokio::test]
async fn when_the_last_one_is_confirmed_all_are_settled() {
    let rig = Rig::start().await;
    let (mut consumer, replies) = delivered(&rig).await;
    assert_eq!(replies.len(), TASKS);
    assert!(rig.broker.acknowledge_all(&replies[..TASKS - 1]).await);
    assert_eq!(
        left(&rig, &mut consumer).await,
        (1, 1),
        "all that were named"
    );
    assert!(rig.broker.acknowledge_all(&replies).await, "once more");
    assert_eq!(left(&rig, &mut consumer).await, (0, 0));
    assert!(rig.broker.acknowledge_all(&[]).await);
}

#[tokio::test]
async fn what_is_not_confirmed_is_said_and_can_be_told_again() {
    let rig = Rig::start().await;
    let (mut consumer, replies) = delivered(&rig).await;
    let proxy = Proxy::to(rig.server.url()).await;
    let deaf = async_nats::connect(proxy.url()).await.expect("it connects");
    let deaf = Broker::new(deaf, None, "a3s").expect("a valid prefix");
    assert!(deaf.acknowledge_all(&replies[..1]).await, "it hears");
    proxy.lose_answers();
    assert!(!deaf.acknowledge_all(&replies[1..]).await, "nothing heard");
    proxy.heal();
    assert!(rig.broker.acknowledge_all(&replies).await);
    assert_eq!(left(&rig, &mut consumer).await, (0, 0));
}
