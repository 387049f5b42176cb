//! A cancelled task is stopped where it runs, and never starts where it waits.

use a3s_shared::protocol::Outcome;
use anyhow::{Result, ensure};
use serde_json::json;

use super::cases;
use crate::observe::claimed;
use crate::rig::{Rig, Setup};
use crate::task::{SESSION, Task};

cases! { "cancel":
    Full Ready a_running_task_is_stopped_and_answered_cancelled
    Full Ready a_running_once_task_is_stopped_and_answered_cancelled
    Full Ready a_task_cancelled_before_the_worker_came_never_starts
    Full Ready a_task_cancelled_while_it_waits_never_starts
    Full Ready a_marker_is_found_when_a_task_is_redelivered
    Full Ready what_happened_comes_before_what_is_wished
    Full Ready the_cancel_of_another_session_stops_nothing
    Full Ready a_marker_without_a_reason_counts
}

async fn stopped(rig: &mut Rig, task: Task) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(task).await?;
    rig.started("f", 1).await?;
    rig.cancel(SESSION, &id).await?;
    let result = rig.ends(&id, Outcome::Cancelled).await?;
    ensure!(result.attempt == 1, "{result:?}");
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await?;
    let echo = rig.submit(Task::new("echo", json!(1))).await?;
    rig.ends(&echo, Outcome::Completed).await?;
    Ok(())
}

async fn a_running_task_is_stopped_and_answered_cancelled(rig: &mut Rig) -> Result<()> {
    let task = Task::count(&rig.path("f"), 600_000);
    stopped(rig, task).await
}

async fn a_running_once_task_is_stopped_and_answered_cancelled(rig: &mut Rig) -> Result<()> {
    let task = Task::count(&rig.path("f"), 600_000).once();
    stopped(rig, task).await
}

async fn a_task_cancelled_before_the_worker_came_never_starts(rig: &mut Rig) -> Result<()> {
    let id = rig.submit(Task::count(&rig.path("f"), 0)).await?;
    rig.cancel(SESSION, &id).await?;
    rig.worker().await?;
    let result = rig.ends(&id, Outcome::Cancelled).await?;
    ensure!(result.attempt == 0, "{result:?}");
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn a_task_cancelled_while_it_waits_never_starts(rig: &mut Rig) -> Result<()> {
    rig.worker_with(Setup {
        concurrency: 1,
        ..Setup::default()
    })
    .await?;
    let busy = rig.submit(Task::count(&rig.path("busy"), 4_000)).await?;
    rig.started("busy", 1).await?;
    let id = rig.submit(Task::count(&rig.path("f"), 0)).await?;
    rig.cancel(SESSION, &id).await?;
    rig.ends(&id, Outcome::Cancelled).await?;
    rig.ends(&busy, Outcome::Completed).await?;
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn a_marker_is_found_when_a_task_is_redelivered(rig: &mut Rig) -> Result<()> {
    let first = rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 600_000)).await?;
    rig.started("f", 1).await?;
    rig.process(first).kill();
    rig.cancel(SESSION, &id).await?;
    rig.worker().await?;
    rig.ends(&id, Outcome::Cancelled).await?;
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn what_happened_comes_before_what_is_wished(rig: &mut Rig) -> Result<()> {
    let id = rig
        .submit(Task::count(&rig.path("f"), 0).once().within(1))
        .await?;
    rig.lose(1).await?;
    rig.write_record(&id, &claimed()).await?;
    rig.cancel(SESSION, &id).await?;
    rig.worker().await?;
    // It may have had its effect: neither the cancel nor the deadline makes that untrue.
    rig.ends(&id, Outcome::Unknown).await?;
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn the_cancel_of_another_session_stops_nothing(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 1_500)).await?;
    rig.started("f", 1).await?;
    rig.cancel("other", &id).await?;
    rig.ends(&id, Outcome::Completed).await?;
    let mut task = Task::new("echo", json!(1));
    task.id = "same".to_owned();
    rig.cancel("other", "same").await?;
    let same = rig.submit(task).await?;
    rig.ends(&same, Outcome::Completed).await?;
    Ok(())
}

async fn a_marker_without_a_reason_counts(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 600_000)).await?;
    rig.started("f", 1).await?;
    rig.publish(&format!("a3s.{SESSION}.cancel.{id}"), &[], "{}")
        .await?;
    rig.ends(&id, Outcome::Cancelled).await?;
    rig.nothing_is_left().await
}
