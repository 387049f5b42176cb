//! A task is acknowledged when its result is stored, never before, and its first result stays.

use a3s_shared::protocol::{ErrorKind, Outcome, SessionLane, TaskResult};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::cases;
use crate::rig::{Rig, Setup};
use crate::tap::{Tap, header};
use crate::task::{SESSION, Task};
use crate::wait::until;

cases! { "delivery":
    Basic Ready a_task_is_acknowledged_after_its_result_and_confirmed
    Basic Ready what_has_no_stored_result_is_not_acknowledged
    Basic Ready the_first_result_stays
    Full Ready a_task_that_has_a_result_is_only_acknowledged
    Full Mute an_acknowledgement_that_was_lost_does_not_run_the_task_again
    Full Ready a_result_that_comes_second_is_no_failure
}

/// A result of somebody else.
fn earlier(id: &str) -> TaskResult {
    TaskResult {
        task_id: id.to_owned(),
        session_id: SESSION.to_owned(),
        lane: SessionLane::Query,
        command_type: "echo".to_owned(),
        success: false,
        result: Value::Null,
        error: Some("answered by somebody else".to_owned()),
        error_kind: Some(ErrorKind::TimedOut),
        attempt: 0,
        worker_id: "coordinator".to_owned(),
        started_at_ms: 0,
        duration_ms: 0,
    }
}

async fn a_task_is_acknowledged_after_its_result_and_confirmed(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let id = rig.submit(Task::new("echo", json!(1))).await?;
    rig.ends(&id, Outcome::Completed).await?;
    rig.nothing_is_left().await?;
    let subject = format!("a3s.{SESSION}.result.{id}");
    let order = tap.heard(|m| {
        let result = m.subject.as_str() == subject;
        let ack = m.subject.starts_with("$JS.ACK.A3S_TASKS.") && m.payload.starts_with(b"+ACK");
        let first = header(m, "Nats-Expected-Last-Subject-Sequence");
        (result || ack).then_some((result, m.reply.is_some(), first))
    });
    let Some((result, asked, first)) = order.first() else {
        anyhow::bail!("neither a result nor an acknowledgement was heard");
    };
    ensure!(
        *result,
        "the task was acknowledged before its result was published"
    );
    ensure!(*asked, "nobody waited for the broker to store the result");
    ensure!(
        first.as_deref() == Some("0"),
        "a result must be the first one, the header says {first:?}"
    );
    let confirmed = order.iter().any(|(result, asked, _)| !result && *asked);
    ensure!(
        confirmed,
        "nobody waited for the broker to hear the acknowledgement"
    );
    Ok(())
}

async fn what_has_no_stored_result_is_not_acknowledged(rig: &mut Rig) -> Result<()> {
    rig.broker.jetstream().delete_stream("A3S_RESULTS").await?;
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let id = rig.submit(Task::new("echo", json!(1))).await?;
    let subject = format!("a3s.{SESSION}.result.{id}");
    let published = |m: &async_nats::Message| (m.subject.as_str() == subject).then_some(());
    tap.wait_for("a result that nobody stores", published)
        .await?;
    // It tries once more, or the lease ends and the next delivery does.
    until("a second try", async || {
        let tries = tap.heard(published).len();
        ensure!(tries >= 2, "{tries} were heard");
        Ok(())
    })
    .await?;
    let (acks, left) = (
        tap.answers("+ACK").len(),
        rig.stored_tasks("A3S_TASKS").await?,
    );
    ensure!(
        acks == 0 && left == 1,
        "it was acknowledged {acks} times, {left} tasks are left"
    );
    rig.ensure().await?;
    rig.ends(&id, Outcome::Completed).await?;
    rig.nothing_is_left().await
}

async fn the_first_result_stays(rig: &mut Rig) -> Result<()> {
    let id = rig.submit(Task::new("echo", json!(1))).await?;
    rig.lose(1).await?;
    let first = earlier(&id);
    rig.answer(&first).await?;
    rig.worker().await?;
    rig.nothing_is_left().await?;
    ensure!(rig.result(&id).await? == first, "another result is stored");
    let stored = rig.stored_results(&id).await?;
    ensure!(stored == 1, "{stored} results are stored");
    Ok(())
}

async fn a_task_that_has_a_result_is_only_acknowledged(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    let id = rig.submit(Task::count(&rig.path("f"), 0)).await?;
    rig.lose(1).await?;
    let first = earlier(&id);
    rig.answer(&first).await?;
    rig.worker().await?;
    rig.nothing_is_left().await?;
    rig.expect_starts("f", 0)?;
    let subject = format!("a3s.{SESSION}.result.{id}");
    let published = tap.heard(|m| (m.subject.as_str() == subject).then_some(()));
    ensure!(
        published.len() == 1,
        "a second result was published, and refused"
    );
    Ok(())
}

async fn an_acknowledgement_that_was_lost_does_not_run_the_task_again(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    let url = rig.server.url().replace("nats://", "nats://mute:mute@");
    let mute = rig
        .worker_with(Setup {
            url: Some(url),
            ..Setup::default()
        })
        .await?;
    let id = rig.submit(Task::count(&rig.path("f"), 0)).await?;
    let first = rig.ends(&id, Outcome::Completed).await?;
    // Its lease runs out, and it gets the task again, as another worker would after a crash.
    tap.wait_for("a second delivery", |m| {
        let reply = m.reply.as_ref()?.as_str();
        let second = reply.starts_with("$JS.ACK.A3S_TASKS.pool-default-query.2.");
        second.then_some(())
    })
    .await?;
    rig.process(mute).kill();
    rig.worker().await?;
    rig.nothing_is_left().await?;
    rig.expect_starts("f", 1)?;
    ensure!(rig.result(&id).await? == first, "the outcome has changed");
    Ok(())
}

async fn a_result_that_comes_second_is_no_failure(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 3_000)).await?;
    rig.started("f", 1).await?;
    let first = earlier(&id);
    rig.answer(&first).await?;
    rig.nothing_is_left().await?;
    rig.expect_starts("f", 1)?;
    ensure!(rig.result(&id).await? == first, "another result is stored");
    let echo = rig.submit(Task::new("echo", json!(1))).await?;
    rig.ends(&echo, Outcome::Completed).await?;
    Ok(())
}
