//! SIGTERM: finish or hand back, say goodbye, exit with 0, leave nothing.

use a3s_shared::protocol::{Outcome, SessionLane};
use anyhow::{Context, Result, ensure};

use super::cases;
use crate::rig::{Rig, Setup};
use crate::task::Task;
use crate::wait::until;

cases! { "drain":
    Full Patient a_drain_finishes_what_runs_and_leaves_no_trace
    Full Patient a_drain_takes_nothing_new
    Full Patient a_drain_hands_back_what_it_cannot_finish_and_costs_no_attempt
    Full Patient a_once_task_that_a_drain_had_to_stop_is_unknown
    Full Patient an_idle_worker_drains_at_once_and_takes_no_task_with_it
}

/// A worker that does not wait for what runs.
fn impatient() -> Setup {
    Setup {
        drain: 0,
        ..Setup::default()
    }
}

async fn a_drain_finishes_what_runs_and_leaves_no_trace(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 2_000)).await?;
    let once = rig
        .submit(Task::count(&rig.path("f"), 2_000).once())
        .await?;
    rig.started("f", 2).await?;
    rig.drain(worker).await?;
    let held = rig.held().await?;
    ensure!(held == 0, "it left {held} tasks unacknowledged");
    ensure!(
        rig.heartbeat(rig.id(worker)).await?.is_none(),
        "its heartbeat is still there"
    );
    for id in [id, once] {
        let result = rig.broker.result(crate::task::SESSION, &id).await?;
        let result = result.context("it ended before what it ran did")?;
        ensure!(
            result.outcome() == Outcome::Completed && result.attempt == 1,
            "{result:?}"
        );
    }
    rig.nothing_is_left().await
}

async fn a_drain_takes_nothing_new(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let running = rig.submit(Task::count(&rig.path("f"), 3_000)).await?;
    rig.started("f", 1).await?;
    rig.process(worker).terminate();
    let id = rig.id(worker).to_owned();
    until("a heartbeat that says it drains", async || {
        let now = rig.heartbeat(&id).await?;
        ensure!(now.is_none_or(|now| now.draining), "it does not say so");
        Ok(())
    })
    .await?;
    let late = rig
        .submit(Task::count(&rig.path("late"), 0).attempts(1))
        .await?;
    rig.drained(worker).await?;
    rig.ends(&running, Outcome::Completed).await?;
    rig.expect_starts("late", 0)?;
    let held = rig.held().await?;
    ensure!(held == 0, "it left {held} tasks unacknowledged");
    rig.worker().await?;
    let result = rig.ends(&late, Outcome::Completed).await?;
    ensure!(result.attempt == 1, "{result:?}");
    Ok(())
}

async fn a_drain_hands_back_what_it_cannot_finish_and_costs_no_attempt(
    rig: &mut Rig,
) -> Result<()> {
    let first = rig.worker_with(impatient()).await?;
    let id = rig
        .submit(Task::count(&rig.path("f"), 6_000).attempts(1))
        .await?;
    rig.started("f", 1).await?;
    rig.drain(first).await?;
    let record = rig.record(&id).await?;
    ensure!(
        record.handed_back == 1 && record.attempts.is_empty(),
        "{record:?}"
    );
    // A lease that it left open would outlast this case.
    let second = rig.worker().await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(
        result.attempt == 1 && result.worker_id == rig.id(second),
        "{result:?}"
    );
    rig.expect_starts("f", 2)?;
    rig.nothing_is_left().await
}

async fn a_once_task_that_a_drain_had_to_stop_is_unknown(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker_with(impatient()).await?;
    let task = Task::count(&rig.path("f"), 600_000).once();
    let id = rig.submit(task.on(SessionLane::Execute)).await?;
    rig.started("f", 1).await?;
    rig.drain(worker).await?;
    rig.ends(&id, Outcome::Unknown).await?;
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn an_idle_worker_drains_at_once_and_takes_no_task_with_it(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    rig.process(worker).terminate();
    // These meet pulls that are still armed; what was delivered is handed back.
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(
            rig.submit(Task::count(&rig.path("f"), 0).attempts(1))
                .await?,
        );
    }
    rig.drained(worker).await?;
    // A lease that it left open would outlast this case.
    rig.worker().await?;
    for id in &ids {
        let result = rig.ends(id, Outcome::Completed).await?;
        ensure!(result.attempt == 1, "{result:?}");
    }
    rig.expect_starts("f", 4)?;
    rig.nothing_is_left().await
}
