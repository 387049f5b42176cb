//! How often a task is tried, and what becomes of it when no attempt is left.

use a3s_shared::protocol::{Outcome, TaskRecord};
use anyhow::{Result, ensure};
use serde_json::json;

use super::cases;
use crate::rig::Rig;
use crate::tap::Tap;
use crate::task::{SESSION, Task};

cases! { "attempts":
    Full Ready a_tool_that_asks_for_another_attempt_gets_it
    Full Ready attempts_that_are_used_up_bury_the_task
    Full Ready a_rejected_task_is_buried_at_once
    Full Ready a_delay_of_none_means_one_attempt
    Full Ready a_tool_may_choose_the_delay
    Full Ready deliveries_that_lost_their_worker_are_attempts
    Full Ready deliveries_that_were_handed_back_are_none
    Full Ready a_once_task_that_asks_for_another_attempt_gives_its_claim_back
}

fn retry(file: &str, until: u32) -> Task {
    Task::new("retry", json!({ "file": file, "until": until }))
}

async fn a_tool_that_asks_for_another_attempt_gets_it(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let id = rig.submit(retry(&rig.path("f"), 3).attempts(5)).await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(
        result.attempt == 3 && result.result["starts"] == 3,
        "{result:?}"
    );
    rig.expect_starts("f", 3)?;
    let notes = rig.record(&id).await?.attempts;
    let noted: Vec<_> = notes.iter().map(|note| note.attempt).collect();
    ensure!(noted == [1, 2], "the record notes the attempts {noted:?}");
    let told = notes
        .iter()
        .all(|n| n.error.contains("not yet") && n.worker_id == rig.id(worker));
    ensure!(told, "the notes do not say who failed why: {notes:?}");
    rig.nothing_is_left().await
}

async fn attempts_that_are_used_up_bury_the_task(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig
        .submit(retry(&rig.path("f"), 100_000).attempts(2))
        .await?;
    rig.ends(&id, Outcome::DeadLettered).await?;
    rig.expect_starts("f", 2)?;
    let letter = rig.letter(SESSION, &id).await?;
    ensure!(
        letter.attempts == 2 && letter.error.contains("not yet"),
        "{letter:?}"
    );
    ensure!(
        letter.command_type == "retry" && letter.payload["until"] == 100_000,
        "{letter:?}"
    );
    rig.nothing_is_left().await
}

async fn a_rejected_task_is_buried_at_once(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let task = Task::new("reject", json!({ "error": "no such account" })).attempts(5);
    let id = rig.submit(task).await?;
    let result = rig.ends(&id, Outcome::DeadLettered).await?;
    ensure!(result.attempt == 1, "{result:?}");
    let letter = rig.letter(SESSION, &id).await?;
    ensure!(
        letter.error.contains("no such account") && letter.attempts == 1,
        "{letter:?}"
    );
    rig.nothing_is_left().await
}

async fn a_delay_of_none_means_one_attempt(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let task = retry(&rig.path("f"), 100_000).attempts(5);
    let id = rig
        .submit(Task {
            delay: Some("none"),
            ..task
        })
        .await?;
    rig.ends(&id, Outcome::DeadLettered).await?;
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn a_tool_may_choose_the_delay(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let payload = json!({ "file": rig.path("f"), "until": 2, "after_ms": 100 });
    let task = Task::new("retry", payload).attempts(2);
    let id = rig
        .submit(Task {
            delay: Some("fixed:20000"),
            ..task
        })
        .await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.attempt == 2, "{result:?}");
    let asked = tap.heard(|m| {
        let said = String::from_utf8_lossy(&m.payload).into_owned();
        (m.subject.starts_with("$JS.ACK.") && said.starts_with("-NAK")).then_some(said)
    });
    let chosen = asked.first().is_some_and(|said| said.contains("100000000"));
    ensure!(chosen, "the broker was asked for {asked:?}");
    Ok(())
}

async fn deliveries_that_lost_their_worker_are_attempts(rig: &mut Rig) -> Result<()> {
    let id = rig
        .submit(Task::count(&rig.path("f"), 0).attempts(2))
        .await?;
    rig.lose(2).await?;
    rig.worker().await?;
    rig.ends(&id, Outcome::DeadLettered).await?;
    rig.expect_starts("f", 0)?;
    let letter = rig.letter(SESSION, &id).await?;
    ensure!(letter.attempts == 2, "{letter:?}");
    rig.nothing_is_left().await
}

async fn deliveries_that_were_handed_back_are_none(rig: &mut Rig) -> Result<()> {
    let id = rig
        .submit(Task::count(&rig.path("f"), 0).attempts(1))
        .await?;
    rig.lose(2).await?;
    let handed_back = TaskRecord {
        handed_back: 2,
        ..TaskRecord::default()
    };
    rig.write_record(&id, &handed_back).await?;
    rig.worker().await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.attempt == 1, "{result:?}");
    rig.nothing_is_left().await
}

async fn a_once_task_that_asks_for_another_attempt_gives_its_claim_back(
    rig: &mut Rig,
) -> Result<()> {
    rig.worker().await?;
    let id = rig
        .submit(retry(&rig.path("f"), 2).once().attempts(3))
        .await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.attempt == 2, "{result:?}");
    rig.expect_starts("f", 2)?;
    let record = rig.record(&id).await?;
    let claimed = record.claim.as_ref().map(|claim| claim.attempt);
    ensure!(
        claimed == Some(2) && record.attempts.len() == 1,
        "{record:?}"
    );
    rig.nothing_is_left().await
}
