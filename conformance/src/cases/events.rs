//! What a worker tells whoever watches.

use a3s_shared::protocol::{Encoding, Event, EventKind, Outcome};
use anyhow::{Result, ensure};
use async_nats::Message;
use serde_json::json;

use super::cases;
use crate::rig::Rig;
use crate::tap::{Tap, header};
use crate::task::{SESSION, Task};

cases! { "events":
    Full Ready the_start_and_the_end_of_a_task_are_told
    Full Ready every_way_to_fail_is_told
    Full Ready output_is_shown_in_numbered_pieces
}

/// The event of a kind of a task, if that is what a message is.
fn event(message: &Message, kind: EventKind, id: &str) -> Option<Event> {
    let subject = format!("a3s.{SESSION}.event.{}", kind.id());
    let told = message.subject.as_str() == subject;
    let event: Event = told.then(|| Encoding::Json.decode(&message.payload).ok())??;
    (event.kind == kind && event.task_id.as_deref() == Some(id)).then_some(event)
}

async fn told(tap: &Tap, kind: EventKind, id: &str) -> Result<Event> {
    let what = format!("the event {}", kind.id());
    tap.wait_for(&what, |message| event(message, kind, id))
        .await
}

async fn the_start_and_the_end_of_a_task_are_told(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    let worker = rig.worker().await?;
    let id = rig.submit(Task::new("sleep", json!({ "ms": 100 }))).await?;
    rig.ends(&id, Outcome::Completed).await?;
    let started = told(&tap, EventKind::Started, &id).await?;
    let completed = told(&tap, EventKind::Completed, &id).await?;
    for event in [&started, &completed] {
        ensure!(
            event.session_id == SESSION && event.attempt == Some(1),
            "{event:?}"
        );
        ensure!(
            event.worker_id.as_deref() == Some(rig.id(worker)),
            "{event:?}"
        );
        ensure!(event.command_type.as_deref() == Some("sleep"), "{event:?}");
        ensure!(event.lane.is_some() && event.time_ms > 0, "{event:?}");
    }
    ensure!(
        completed.duration_ms.is_some_and(|ms| ms >= 50),
        "{completed:?}"
    );
    Ok(())
}

async fn every_way_to_fail_is_told(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let failed = rig
        .submit(Task::new("fail", json!({ "error": "no" })))
        .await?;
    let event = told(&tap, EventKind::Failed, &failed).await?;
    ensure!(event.error.as_deref() == Some("no"), "{event:?}");
    let late = Task::new("sleep", json!({ "ms": 600_000 })).within(1_000);
    let late = rig.submit(late).await?;
    told(&tap, EventKind::Timeout, &late).await?;
    let payload = json!({ "file": rig.path("f"), "until": 100 });
    let given_up = rig.submit(Task::new("retry", payload).attempts(2)).await?;
    let event = told(&tap, EventKind::Retry, &given_up).await?;
    ensure!(
        event.delay_ms.is_some() && event.attempt == Some(1),
        "{event:?}"
    );
    told(&tap, EventKind::DeadLettered, &given_up).await?;
    Ok(())
}

async fn output_is_shown_in_numbered_pieces(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let chunks = ["one\n", "žluť 🦀\n", "three\n"];
    let payload = json!({ "chunks": chunks, "ms": 200 });
    let id = rig.submit(Task::new("progress", payload)).await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.result["output"] == chunks.concat(), "{result:?}");
    let subject = format!("a3s.{SESSION}.output.{id}");
    let pieces = tap.heard(|message| {
        let number = header(message, "A3s-Chunk").unwrap_or_default();
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        (message.subject.as_str() == subject).then_some((number, text))
    });
    let numbers: Vec<_> = pieces.iter().map(|(number, _)| number.as_str()).collect();
    ensure!(
        numbers == ["1", "2", "3"],
        "the pieces are numbered {numbers:?}"
    );
    let text: String = pieces.into_iter().map(|(_, text)| text).collect();
    ensure!(text == chunks.concat(), "{text:?} was shown");
    Ok(())
}
