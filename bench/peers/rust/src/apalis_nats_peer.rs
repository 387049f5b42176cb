//! apalis on JetStream. It keeps no results, so its handler tells them in a message, which is stored
//! or not. Its way of pushing would make the submitter a consumer too, so tasks are published as it
//! does, and the acknowledgement is awaited.

use anyhow::{Context as _, Result};
use apalis::prelude::*;
use apalis_nats::{Config, NatsJetStream};
use async_nats::jetstream::{self, message::PublishMessage};
use closed_loop::{Waiting, drive, number, setting};
use futures::StreamExt as _;
use ulid::Ulid;

use crate::Job;

/// Stream, and the subject of tasks.
const QUEUE: &str = "bench";

/// Where results are told.
const DONE: &str = "bench_done";

/// Works; with `stored`, a result is stored, and known to be, before its task is acknowledged, as
/// the product's is.
pub(crate) async fn work(stored: bool) -> Result<()> {
    let client = async_nats::connect(setting("PEER_URL")?).await?;
    let context = jetstream::new(client.clone());
    if stored {
        context.get_or_create_stream(stream(DONE)).await?;
    }
    let slots: usize = number("SLOTS")?;
    let config = Config::new(QUEUE).with_pull_consumer().durable();
    let backend = NatsJetStream::<Job, _>::new(client.clone()).with_config(config);
    let handle = move |job: Job| {
        let (client, context) = (client.clone(), context.clone());
        async move {
            let id = job.id.to_be_bytes().to_vec();
            match stored {
                true => drop(context.publish(DONE, id.into()).await?.await?),
                false => client.publish(DONE, id.into()).await?,
            }
            Ok::<(), BoxDynError>(())
        }
    };
    let worker = WorkerBuilder::new("bench")
        .backend(backend)
        .concurrency(slots);
    worker.build(handle).run().await?;
    Ok(())
}

pub(crate) async fn submit() -> Result<()> {
    let client = async_nats::connect(setting("PEER_URL")?).await?;
    let mut done = client.subscribe(DONE).await?;
    client.flush().await?;
    let waiting = Waiting::default();
    let told = waiting.clone();
    tokio::spawn(async move {
        while let Some(message) = done.next().await {
            let id: Result<[u8; 8], _> = message.payload.as_ref().try_into();
            id.map_or_else(|_| (), |id| told.tell(u64::from_be_bytes(id)));
        }
    });
    let context = jetstream::new(client);
    // The worker makes it too; whoever comes first.
    context.get_or_create_stream(stream(QUEUE)).await?;
    drive(move |id| {
        let (context, waiting) = (context.clone(), waiting.clone());
        async move {
            let publish = async {
                let body = serde_json::to_vec(&Job::of(id))?;
                // Each of its tasks has an id by which the broker knows it again.
                let message = PublishMessage::build().payload(body.into());
                let message = message.message_id(Ulid::generate().to_string());
                let stored = context.send_publish(QUEUE, message).await?;
                stored.await.context("the task is not stored")?;
                Ok(())
            };
            waiting.once(id, publish).await
        }
    })
    .await
}

/// A stream of one subject, as apalis makes it.
fn stream(name: &str) -> jetstream::stream::Config {
    let name = name.to_owned();
    jetstream::stream::Config {
        name,
        ..Default::default()
    }
}
