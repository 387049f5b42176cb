//! What cannot be read now never will: it is buried with the reason, whole, and answered.

use a3s_shared::protocol::{Outcome, SessionLane};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::cases;
use crate::fixtures;
use crate::rig::Rig;
use crate::task::Task;

cases! { "malformed":
    Full Ready every_malformed_body_is_buried_and_the_worker_lives_on
    Full Ready a_body_that_contradicts_its_subject_is_buried
    Full Ready a_large_body_that_is_gone_or_damaged_is_buried
    Full Ready an_unreadable_task_is_buried_by_the_name_in_its_headers
}

async fn every_malformed_body_is_buried_and_the_worker_lives_on(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for message in fixtures::tasks()? {
        if message.value.is_none() {
            let headers = [("Content-Type", message.content_type())];
            let body = message.body()?;
            let buried = buried(rig, &headers, &body).await;
            buried.with_context(|| message.file.clone())?;
        }
    }
    let id = rig.submit(Task::new("echo", json!(1))).await?;
    rig.ends(&id, Outcome::Completed).await?;
    rig.nothing_is_left().await
}

/// Publishes a body that cannot be read and checks its letter and its result.
async fn buried(rig: &Rig, headers: &[(&str, &str)], body: &[u8]) -> Result<String> {
    let sequence = rig
        .publish("a3s.demo.query", headers, body.to_vec())
        .await?;
    let id = format!("t{sequence}");
    let result = rig.result_of("demo", &id).await?;
    ensure!(result.outcome() == Outcome::DeadLettered, "{result:?}");
    ensure!(
        result.attempt == 0 && result.command_type.is_empty(),
        "{result:?}"
    );
    let error = result.error.unwrap_or_default();
    ensure!(!error.is_empty(), "its result does not say why");
    let letter = rig.letter("demo", &id).await?;
    ensure!(!letter.error.is_empty(), "its letter does not say why");
    ensure!(
        letter.subject == "a3s.demo.query" && letter.lane == SessionLane::Query,
        "{letter:?}"
    );
    ensure!(letter.attempts == 0 && letter.failed_at > 0, "{letter:?}");
    ensure!(
        BASE64.decode(&letter.body)? == body,
        "its letter has another body: {}",
        letter.body
    );
    for (name, value) in headers {
        let kept = letter.headers.iter().any(|(n, v)| n == name && v == value);
        ensure!(kept, "its letter lacks header {name}: {:?}", letter.headers);
    }
    Ok(error)
}

async fn a_body_that_contradicts_its_subject_is_buried(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let bodies = [
        json!({ "command_type": "echo", "lane": "Execute" }),
        json!({ "command_type": "echo", "session_id": "other" }),
        json!({ "command_type": "echo", "task_id": "a.b" }),
        json!({ "command_type": "echo", "task_id": "x".repeat(65) }),
    ];
    for body in bodies {
        let bytes = body.to_string();
        buried(rig, &[], bytes.as_bytes())
            .await
            .with_context(|| bytes.clone())?;
    }
    rig.nothing_is_left().await
}

async fn a_large_body_that_is_gone_or_damaged_is_buried(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let absent = format!("sha256-{}.t", "0".repeat(64));
    buried(rig, &[("A3s-Blob", &absent)], b"")
        .await
        .context("gone")?;
    let body = br#"{"command_type":"echo"}"#;
    let name = rig.broker.put_blob(&body[..], "t").await?;
    let store = rig.broker.jetstream().get_object_store("a3s_blobs").await?;
    store
        .put(name.as_str(), &mut &b"{\"command_type\":\"fail\"}"[..])
        .await?;
    buried(rig, &[("A3s-Blob", &name)], b"")
        .await
        .context("damaged")?;
    rig.nothing_is_left().await
}

async fn an_unreadable_task_is_buried_by_the_name_in_its_headers(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let headers = [("A3s-Reply-To", "a3s.demo.result.mine")];
    rig.publish("a3s.demo.query", &headers, "{").await?;
    let result = rig.result_of("demo", "mine").await?;
    ensure!(result.outcome() == Outcome::DeadLettered, "{result:?}");
    rig.letter("demo", "mine").await?;
    rig.nothing_is_left().await
}
