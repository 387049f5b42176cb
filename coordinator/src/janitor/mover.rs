//! Moves what the broker gave up (too many deliveries) to the dead letters. The broker leaves
//! such a task in its stream, never delivers it again, and says so once, in an advisory.

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, Seen, StoredTask, TaskStream};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt;
use serde::Deserialize;
use tokio::time::sleep;

use super::clear;

/// Advisories a pull brings at most.
const BATCH: usize = 64;
/// How long a pull waits for advisories.
const EXPIRES: Duration = Duration::from_secs(20);
/// The wait after a pull that failed.
const BACK_OFF: Duration = Duration::from_secs(5);

/// What the broker says of a task that it gave up.
#[derive(Debug, Deserialize)]
struct Advisory {
    stream: String,
    stream_seq: u64,
    #[serde(default)]
    deliveries: u64,
    #[serde(default)]
    reason: Option<String>,
}

/// Moves tasks for ever. Several processes may: each advisory goes to one of them, and every step
/// may be repeated.
pub(crate) async fn move_given_up(broker: Broker) {
    if let Err(error) = may_move(&broker).await
        && error.is_denied()
    {
        tracing::debug!(%error, "others move what the broker gives up");
        return;
    }
    loop {
        if let Err(error) = move_batch(&broker).await {
            tracing::debug!(%error, "the advisories of the broker cannot be read");
            sleep(BACK_OFF).await;
        }
    }
}

/// Whether our credential may, which the pull itself would not say.
async fn may_move(broker: &Broker) -> Result<(), BrokerError> {
    let names = broker.names();
    let (stream, consumer) = (names.advisories(), names.mover_consumer());
    match broker.consumer_info(&stream, &consumer).await? {
        Seen::There(_) | Seen::Missing => Ok(()),
        Seen::Hidden(denied) => Err(BrokerError::Denied {
            what: format!("look at consumer {consumer}"),
            denied,
        }),
    }
}

async fn move_batch(broker: &Broker) -> Result<(), async_nats::Error> {
    let names = broker.names();
    let found = broker
        .jetstream()
        .get_consumer_from_stream(names.mover_consumer(), names.advisories())
        .await;
    let consumer: PullConsumer = found?;
    let pull = consumer.batch().max_messages(BATCH).expires(EXPIRES);
    let mut messages = pull.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        match move_one(broker, &message).await {
            // An acknowledgement that is lost repeats the advisory, which is harmless then.
            Ok(()) => message.ack().await?,
            Err(error) => {
                tracing::warn!(%error, "a task that the broker gave up could not be moved yet");
                message.ack_with(AckKind::Nak(Some(BACK_OFF))).await?;
            }
        }
    }
    Ok(())
}

async fn move_one(broker: &Broker, message: &Message) -> Result<(), BrokerError> {
    let Ok(advisory) = serde_json::from_slice::<Advisory>(&message.payload) else {
        tracing::warn!("an advisory of the broker cannot be read");
        return Ok(());
    };
    let ours = [TaskStream::Pool, TaskStream::Own].map(|which| broker.names().tasks(which));
    if !ours.contains(&advisory.stream) {
        return Ok(());
    }
    // Gone: acknowledged late, or moved before this advisory was acknowledged.
    let Some(message) = broker.at(&advisory.stream, advisory.stream_seq).await? else {
        return Ok(());
    };
    let Some(stored) = StoredTask::read(broker, &advisory.stream, message) else {
        return Ok(());
    };
    let reason = advisory.reason.unwrap_or_else(|| {
        format!(
            "the broker gave it up after {} deliveries",
            advisory.deliveries
        )
    });
    clear::bury(broker, &stored, &reason, advisory.deliveries).await
}
