//! A `once` task starts at most once: it is claimed before its tool sees it, and when nobody knows
//! how it ended, that is the answer.

use a3s_shared::protocol::{Outcome, SessionLane};
use anyhow::{Context, Result, ensure};

use super::cases;
use crate::observe::claimed;
use crate::rig::Rig;
use crate::tap::Tap;
use crate::task::Task;

cases! { "once":
    Full Ready a_once_task_is_claimed_before_its_tool_starts
    Full Ready a_once_task_that_cannot_be_claimed_is_not_started
    Full Ready a_claim_that_was_taken_meanwhile_is_respected
    Full Ready a_redelivery_with_an_open_claim_is_answered_unknown
    Full Ready a_killed_worker_leaves_its_once_task_unknown
    Full Ready a_once_task_that_nobody_claimed_runs_however_often_it_was_delivered
    Full Ready the_lane_says_the_effect_when_no_header_does
}

async fn a_once_task_is_claimed_before_its_tool_starts(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let id = rig
        .submit(Task::count(&rig.path("f"), 1_000).once())
        .await?;
    rig.started("f", 1).await?;
    let claim = rig
        .record(&id)
        .await?
        .claim
        .context("it runs, and nobody has claimed it")?;
    ensure!(
        claim.worker_id == rig.id(worker) && claim.attempt == 1,
        "{claim:?}"
    );
    rig.ends(&id, Outcome::Completed).await?;
    rig.nothing_is_left().await
}

async fn a_once_task_that_cannot_be_claimed_is_not_started(rig: &mut Rig) -> Result<()> {
    rig.broker.jetstream().delete_stream("A3S_CLAIMS").await?;
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 0).once()).await?;
    let subject = format!("a3s.conf.claim.{id}");
    let tried = |m: &async_nats::Message| (m.subject.as_str() == subject).then_some(());
    tap.wait_for("a claim that nobody stores", tried).await?;
    // The next delivery shows that the worker is done with this one.
    tap.wait_for("a second delivery", |m| {
        let reply = m.reply.as_ref()?.as_str();
        reply
            .starts_with("$JS.ACK.A3S_TASKS.pool-default-query.2.")
            .then_some(())
    })
    .await?;
    rig.expect_starts("f", 0)?;
    rig.ensure().await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(
        result.attempt == 1,
        "nothing was started before: {result:?}"
    );
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn a_claim_that_was_taken_meanwhile_is_respected(rig: &mut Rig) -> Result<()> {
    // On a first delivery nobody looks for a record; writing the claim is what tells.
    let id = rig.submit(Task::count(&rig.path("f"), 0).once()).await?;
    rig.write_record(&id, &claimed()).await?;
    rig.worker().await?;
    let result = rig.ends(&id, Outcome::Unknown).await?;
    ensure!(result.attempt <= 1, "{result:?}");
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn a_redelivery_with_an_open_claim_is_answered_unknown(rig: &mut Rig) -> Result<()> {
    let id = rig
        .submit(Task::count(&rig.path("f"), 0).once().attempts(3))
        .await?;
    rig.lose(1).await?;
    rig.write_record(&id, &claimed()).await?;
    rig.worker().await?;
    let result = rig.ends(&id, Outcome::Unknown).await?;
    ensure!(!result.success && result.error.is_some(), "{result:?}");
    rig.expect_starts("f", 0)?;
    rig.nothing_is_left().await
}

async fn a_killed_worker_leaves_its_once_task_unknown(rig: &mut Rig) -> Result<()> {
    let first = rig.worker().await?;
    let task = Task::count(&rig.path("f"), 60_000).once().attempts(3);
    let id = rig.submit(task.on(SessionLane::Execute)).await?;
    rig.started("f", 1).await?;
    rig.process(first).kill();
    rig.worker().await?;
    rig.ends(&id, Outcome::Unknown).await?;
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn a_once_task_that_nobody_claimed_runs_however_often_it_was_delivered(
    rig: &mut Rig,
) -> Result<()> {
    let id = rig
        .submit(Task::count(&rig.path("f"), 0).once().attempts(1))
        .await?;
    rig.lose(3).await?;
    rig.worker().await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.attempt == 1, "{result:?}");
    rig.expect_starts("f", 1)?;
    rig.nothing_is_left().await
}

async fn the_lane_says_the_effect_when_no_header_does(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for lane in SessionLane::ALL {
        let task = Task::count(&rig.path("f"), 0).on(lane);
        let id = rig
            .submit(Task {
                effect: None,
                ..task
            })
            .await?;
        rig.ends(&id, Outcome::Completed).await?;
        let claimed = rig.record(&id).await?.claim.is_some();
        let once = matches!(lane, SessionLane::Execute | SessionLane::Generate);
        ensure!(claimed == once, "on {lane} the task was claimed: {claimed}");
    }
    Ok(())
}
