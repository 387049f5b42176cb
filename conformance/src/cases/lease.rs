//! A task belongs to its worker as long as the broker hears of it, and no longer.

use a3s_shared::protocol::Outcome;
use a3s_testkit::Proxy;
use anyhow::{Result, ensure};
use serde_json::json;

use super::cases;
use crate::rig::{ACK_WAIT, Rig, Setup};
use crate::tap::Tap;
use crate::task::{SESSION, Task};
use crate::wait::until;

cases! { "lease":
    Full Ready a_task_longer_than_the_lease_runs_once
    Full Ready a_killed_worker_does_not_lose_its_task
    Full Ready a_frozen_worker_changes_nothing_when_it_wakes
    Full Ready a_worker_whose_link_was_dead_changes_nothing_when_it_heals
}

async fn a_task_longer_than_the_lease_runs_once(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let ms = u64::try_from(ACK_WAIT.as_millis())? * 3;
    let id = rig.submit(Task::count(&rig.path("f"), ms)).await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.attempt == 1, "{result:?}");
    rig.expect_starts("f", 1)?;
    let renewals = tap.answers("+WPI");
    ensure!(
        renewals.len() >= 3,
        "the lease was renewed {} times",
        renewals.len()
    );
    let confirmed = renewals.iter().any(Option::is_some);
    ensure!(
        confirmed,
        "nobody waited for the broker to hear of a renewal"
    );
    rig.nothing_is_left().await
}

async fn a_killed_worker_does_not_lose_its_task(rig: &mut Rig) -> Result<()> {
    let first = rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 5_000)).await?;
    rig.started("f", 1).await?;
    rig.process(first).kill();
    let second = rig.worker().await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(
        result.attempt == 2 && result.worker_id == rig.id(second),
        "{result:?}"
    );
    rig.expect_starts("f", 2)?;
    rig.nothing_is_left().await
}

async fn a_frozen_worker_changes_nothing_when_it_wakes(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    let frozen = rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 5_000)).await?;
    rig.started("f", 1).await?;
    rig.process(frozen).stop_process();
    let second = rig.worker().await?;
    // A delivery to the frozen worker's armed pull is lost too, and counts.
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(
        result.worker_id == rig.id(second) && result.attempt >= 2,
        "{result:?}"
    );
    rig.drain(second).await?;
    rig.process(frozen).continue_process();
    // It works again, so it has looked at what it had.
    let echo = rig.submit(Task::new("echo", json!(1))).await?;
    rig.ends(&echo, Outcome::Completed).await?;
    rig.nothing_is_left().await?;
    unchanged(rig, &tap, &id, &result).await
}

/// Expects that a task has the result that it had, and that nobody tried to run it a third time.
async fn unchanged(
    rig: &Rig,
    tap: &Tap,
    id: &str,
    result: &a3s_shared::protocol::TaskResult,
) -> Result<()> {
    rig.expect_starts("f", 2)?;
    ensure!(&rig.result(id).await? == result, "the outcome has changed");
    let stored = rig.stored_results(id).await?;
    ensure!(stored == 1, "{stored} results are stored");
    let done = format!("a3s.{SESSION}.done.{id}");
    let told = tap
        .heard(|m| (m.subject.as_str() == done).then_some(()))
        .len();
    ensure!(told == 1, "the caller was told {told} times");
    Ok(())
}

async fn a_worker_whose_link_was_dead_changes_nothing_when_it_heals(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    let proxy = Proxy::to(rig.server.url()).await;
    let url = Some(proxy.url().to_owned());
    let far = rig
        .worker_with(Setup {
            url,
            ..Setup::default()
        })
        .await?;
    let id = rig.submit(Task::count(&rig.path("f"), 5_000)).await?;
    rig.started("f", 1).await?;
    proxy.blackhole();
    let near = rig.worker().await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    // A delivery to the far worker's armed pull is lost on the dead link, and counts.
    ensure!(
        result.worker_id == rig.id(near) && result.attempt >= 2,
        "{result:?}"
    );
    rig.drain(near).await?;
    proxy.heal();
    let echo = rig.submit(Task::new("echo", json!(1))).await?;
    let answered = rig.ends(&echo, Outcome::Completed).await?;
    ensure!(answered.worker_id == rig.id(far), "{answered:?}");
    until("the first worker is done with it", async || {
        let held = rig.held().await?;
        ensure!(held == 0, "{held} are held");
        Ok(())
    })
    .await?;
    unchanged(rig, &tap, &id, &result).await
}
