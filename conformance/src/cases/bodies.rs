//! Bodies that are too large for a message.

use a3s_shared::protocol::{Encoding, Outcome};
use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::cases;
use crate::rig::Rig;
use crate::task::{SESSION, Task};
use crate::wait::until;

cases! { "bodies":
    Full Ready a_large_body_comes_and_goes_through_the_object_store
    Full Ready the_body_of_a_finished_task_is_removed
    Full Ready a_body_that_fits_stays_in_its_message
}

const LARGE: usize = 700_000;

/// The header that names the stored body of a result, if it has one.
async fn blob_of(rig: &Rig, id: &str) -> Result<Option<String>> {
    let subject = format!("a3s.{SESSION}.result.{id}");
    let found = rig.broker.last("A3S_RESULTS", &subject).await?;
    let found = found.with_context(|| format!("there is no result of {id}"))?;
    let blob = found.header("A3s-Blob").map(str::to_owned);
    let empty = found.body.is_empty();
    ensure!(
        blob.is_some() == empty,
        "A3s-Blob is {blob:?} and the message has {} bytes",
        found.body.len()
    );
    Ok(blob)
}

async fn a_large_body_comes_and_goes_through_the_object_store(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let payload = json!({ "text": "ž".repeat(LARGE / 2), "n": 7 });
        let task = Task::new("echo", payload.clone());
        let id = rig.submit(Task { encoding, ..task }).await?;
        // Reading it back checks the digest.
        let result = rig.ends(&id, Outcome::Completed).await?;
        ensure!(
            result.result == payload,
            "{encoding}: it came back as something else"
        );
        let blob = blob_of(rig, &id)
            .await?
            .context("the large result is in its message")?;
        let owner = blob.rsplit('.').next().unwrap_or_default();
        ensure!(blob.starts_with("sha256-"), "a body is called {blob}");
        ensure!(
            owner == format!("{id}-result"),
            "the owner of a result's body is {owner}"
        );
    }
    rig.nothing_is_left().await
}

async fn the_body_of_a_finished_task_is_removed(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let payload = json!({ "error": "x", "filler": "y".repeat(LARGE) });
    let id = rig.submit(Task::new("fail", payload)).await?;
    rig.ends(&id, Outcome::Failed).await?;
    let store = rig.broker.jetstream().get_object_store("a3s_blobs").await?;
    until("the task's body is removed", async || {
        use futures::StreamExt;
        let left = store.list().await?.count().await;
        ensure!(left == 0, "{left} bodies are stored");
        Ok(())
    })
    .await
}

async fn a_body_that_fits_stays_in_its_message(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for (bytes, stored) in [(100_000, false), (400_000, true)] {
        let id = rig
            .submit(Task::new("blob", json!({ "bytes": bytes })))
            .await?;
        let result = rig.ends(&id, Outcome::Completed).await?;
        let text = result.result["text"].as_str().unwrap_or_default();
        ensure!(
            text.len() == bytes,
            "{} bytes came, not {bytes}",
            text.len()
        );
        let blob = blob_of(rig, &id).await?;
        ensure!(
            blob.is_some() == stored,
            "{bytes} bytes: A3s-Blob is {blob:?}"
        );
    }
    Ok(())
}
