//! What a result says, and how it is written.

use std::collections::BTreeSet;

use a3s_shared::protocol::{Encoding, ErrorKind, Outcome, SessionLane, clock};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::cases;
use crate::rig::Rig;
use crate::task::{SESSION, Task};

cases! { "results":
    Basic Ready an_unknown_command_is_answered_so
    Full Ready an_unknown_command_names_the_tools_that_are_there
    Full Ready a_result_says_all_that_the_wire_names
    Full Ready a_result_is_written_as_its_task_was
    Full Ready a_tool_that_fails_has_a_result_and_no_second_attempt
    Full Ready a_tool_that_breaks_is_a_failed_task_and_no_dead_worker
}

async fn an_unknown_command_is_answered_so(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(Task::new("sing", json!({}))).await?;
    let result = rig.ends(&id, Outcome::Failed).await?;
    ensure!(
        result.error_kind == Some(ErrorKind::UnknownCommand),
        "{result:?}"
    );
    let error = result.error.unwrap_or_default();
    ensure!(error.contains("Unknown command type: sing"), "{error:?}");
    rig.nothing_is_left().await
}

async fn an_unknown_command_names_the_tools_that_are_there(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig
        .submit(Task::new("sing", json!({})).on(SessionLane::Execute).once())
        .await?;
    let error = rig
        .ends(&id, Outcome::Failed)
        .await?
        .error
        .unwrap_or_default();
    ensure!(
        error.contains("echo") && error.contains("count"),
        "{error:?}"
    );
    ensure!(
        rig.record(&id).await?.claim.is_none(),
        "what cannot start was claimed"
    );
    rig.nothing_is_left().await
}

async fn a_result_says_all_that_the_wire_names(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let before = clock::now_ms();
    let id = rig
        .submit(Task::new("sleep", json!({ "ms": 300 })).on(SessionLane::Generate))
        .await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(
        result.task_id == id && result.session_id == SESSION,
        "{result:?}"
    );
    ensure!(
        result.lane == SessionLane::Generate && result.command_type == "sleep",
        "{result:?}"
    );
    ensure!(
        result.worker_id == rig.id(worker) && result.attempt == 1,
        "{result:?}"
    );
    let began = result.started_at_ms;
    ensure!(
        began.abs_diff(before) < 120_000,
        "it began at {began}, the task is of {before}"
    );
    ensure!((250..120_000).contains(&result.duration_ms), "{result:?}");
    let names: BTreeSet<String> = fields(rig, &id).await?.into_iter().collect();
    for name in [
        "task_id",
        "session_id",
        "lane",
        "command_type",
        "success",
        "result",
        "attempt",
        "worker_id",
        "started_at_ms",
        "duration_ms",
    ] {
        ensure!(
            names.contains(name),
            "the result has no field {name}: {names:?}"
        );
    }
    Ok(())
}

/// The names of the fields of a stored result, as they are written.
async fn fields(rig: &Rig, id: &str) -> Result<Vec<String>> {
    let body: Value = stored(rig, id).await?.1;
    let fields = body.as_object().cloned().unwrap_or_default();
    Ok(fields.into_iter().map(|(name, _)| name).collect())
}

/// The `Content-Type` and the body of a stored result.
async fn stored(rig: &Rig, id: &str) -> Result<(String, Value)> {
    let subject = format!("a3s.{SESSION}.result.{id}");
    let found = rig.broker.last("A3S_RESULTS", &subject).await?;
    let Some(found) = found else {
        anyhow::bail!("there is no result of {id}");
    };
    let content_type = found.header("Content-Type").unwrap_or_default().to_owned();
    let encoding = Encoding::of(None, &found.body);
    Ok((content_type, encoding.decode(&found.body)?))
}

async fn a_result_is_written_as_its_task_was(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let task = Task::new("echo", json!({ "n": 1 }));
        let id = rig.submit(Task { encoding, ..task }).await?;
        rig.ends(&id, Outcome::Completed).await?;
        let subject = format!("a3s.{SESSION}.result.{id}");
        let found = rig.broker.last("A3S_RESULTS", &subject).await?;
        let body = found.map(|found| found.body).unwrap_or_default();
        let written = Encoding::of(None, &body);
        ensure!(
            written == encoding,
            "a task in {encoding} was answered in {written}"
        );
        let (content_type, _) = stored(rig, &id).await?;
        ensure!(
            content_type == encoding.content_type(),
            "a result in {encoding} says it is {content_type:?}"
        );
    }
    // Without a header the first byte tells.
    let body =
        Encoding::MessagePack.encode(&json!({ "command_type": "echo", "task_id": "packed" }));
    rig.publish("a3s.conf.query", &[], body).await?;
    rig.ends("packed", Outcome::Completed).await?;
    let (content_type, _) = stored(rig, "packed").await?;
    ensure!(content_type.contains("msgpack"), "{content_type:?}");
    Ok(())
}

async fn a_tool_that_fails_has_a_result_and_no_second_attempt(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let plain = json!({ "error": "no such test", "result": { "output": "half of it" } });
    let id = rig.submit(Task::new("fail", plain)).await?;
    let result = rig.ends(&id, Outcome::Failed).await?;
    ensure!(
        result.error.as_deref() == Some("no such test"),
        "{result:?}"
    );
    ensure!(
        result.error_kind.is_none() && result.attempt == 1,
        "{result:?}"
    );
    ensure!(
        result.result["output"] == "half of it",
        "what it produced is lost: {result:?}"
    );
    for (kind, expected) in [
        ("invalid_input", ErrorKind::InvalidInput),
        ("refused", ErrorKind::Refused),
    ] {
        let payload = json!({ "error": "not so", "kind": kind });
        let id = rig.submit(Task::new("fail", payload)).await?;
        let result = rig.ends(&id, Outcome::Failed).await?;
        ensure!(result.error_kind == Some(expected), "{result:?}");
    }
    rig.nothing_is_left().await
}

async fn a_tool_that_breaks_is_a_failed_task_and_no_dead_worker(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(Task::new("throw", json!({}))).await?;
    let result = rig.ends(&id, Outcome::Failed).await?;
    ensure!(result.attempt == 1, "{result:?}");
    ensure!(
        result.error.is_some_and(|error| !error.is_empty()),
        "it does not say why"
    );
    let id = rig.submit(Task::new("echo", json!(1))).await?;
    rig.ends(&id, Outcome::Completed).await?;
    rig.nothing_is_left().await
}
