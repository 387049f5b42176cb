//! A deadline is absolute, and total.

use a3s_shared::protocol::{Outcome, clock};
use anyhow::{Result, ensure};
use serde_json::json;

use super::cases;
use crate::rig::{Rig, Setup};
use crate::task::Task;
use crate::wait::until;

cases! { "deadline":
    Full Ready a_deadline_that_passed_in_the_queue_is_answered_and_not_run
    Full Ready a_running_task_is_stopped_at_its_deadline
    Full Ready the_header_counts_and_not_the_body
    Full Ready without_a_header_the_time_runs_from_when_the_task_was_stored
    Full Ready all_attempts_share_one_deadline
}

async fn a_deadline_that_passed_in_the_queue_is_answered_and_not_run(rig: &mut Rig) -> Result<()> {
    let late = Task::count(&rig.path("f"), 0).within(1);
    let late = rig.submit(late).await?;
    rig.worker_with(Setup {
        concurrency: 1,
        ..Setup::default()
    })
    .await?;
    let result = rig.ends(&late, Outcome::TimedOut).await?;
    ensure!(result.attempt == 0 && !result.success, "{result:?}");
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn a_running_task_is_stopped_at_its_deadline(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let task = Task::count(&rig.path("f"), 600_000).within(4_000);
    let deadline = task.deadline_ms.unwrap_or_default();
    let id = rig.submit(task).await?;
    let result = rig.ends(&id, Outcome::TimedOut).await?;
    ensure!(result.attempt == 1, "{result:?}");
    ensure!(
        clock::now_ms() >= deadline,
        "it was stopped before its time"
    );
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn the_header_counts_and_not_the_body(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let task = Task::new("sleep", json!({ "ms": 500 }));
    let id = rig
        .submit(Task {
            timeout_ms: 1,
            ..task
        })
        .await?;
    rig.ends(&id, Outcome::Completed).await?;
    Ok(())
}

async fn without_a_header_the_time_runs_from_when_the_task_was_stored(rig: &mut Rig) -> Result<()> {
    let task = Task::count(&rig.path("f"), 0);
    let late = Task {
        timeout_ms: 1_000,
        deadline_ms: None,
        ..task
    };
    let late = rig.submit(late).await?;
    let over = clock::now_ms() + 1_000;
    until("its time is over", async || {
        let now = clock::now_ms();
        ensure!(now > over, "{} ms are left", over - now);
        Ok(())
    })
    .await?;
    rig.worker().await?;
    rig.ends(&late, Outcome::TimedOut).await?;
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn all_attempts_share_one_deadline(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let payload = json!({ "file": rig.path("f"), "until": 100_000 });
    let task = Task::new("retry", payload).within(3_000).attempts(100_000);
    let id = rig
        .submit(Task {
            delay: Some("fixed:400"),
            ..task
        })
        .await?;
    rig.ends(&id, Outcome::TimedOut).await?;
    rig.nothing_is_left().await
}
