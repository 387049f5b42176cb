//! A worker takes what it can run, the urgent first.

use std::time::Duration;

use a3s_shared::protocol::{Outcome, SessionLane};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::cases;
use crate::rig::{Rig, Setup};
use crate::tap::Tap;
use crate::task::Task;
use crate::wait::until;

cases! { "lanes":
    Full Ready no_more_is_held_than_can_be_run
    Full Ready a_higher_lane_goes_first
    Full Ready pulls_ask_for_what_fits_and_for_signs_of_life
    Full Ready control_has_a_slot_of_its_own
    Full Ready a_lane_that_is_not_served_is_left_alone
}

/// What two slots may hold: what runs, and one surplus task of each lane but the first.
const HELD_AT_MOST: usize = 2 + 3;

async fn no_more_is_held_than_can_be_run(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let (mut ids, mut most_held) = (Vec::new(), 0);
    for _ in 0..10 {
        ids.push(
            rig.submit(Task::count(&rig.path("f"), 400).attempts(1))
                .await?,
        );
    }
    until("every task is done", async || {
        most_held = most_held.max(rig.held().await?);
        let left = rig.stored_tasks("A3S_TASKS").await?;
        ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await?;
    ensure!(
        most_held <= HELD_AT_MOST,
        "{most_held} tasks were held by a worker with 2 slots"
    );
    let (mut running, mut most) = (0_usize, 0);
    for line in rig.lines("f") {
        running = match line.starts_with("start") {
            true => running + 1,
            false => running.saturating_sub(1),
        };
        most = most.max(running);
    }
    ensure!(most == 2, "{most} tasks ran at a time, not 2");
    for id in &ids {
        let result = rig.ends(id, Outcome::Completed).await?;
        ensure!(
            result.attempt == 1,
            "what is held back is no attempt: {result:?}"
        );
    }
    rig.expect_starts("f", 10)?;
    rig.nothing_is_left().await
}

async fn a_higher_lane_goes_first(rig: &mut Rig) -> Result<()> {
    let mut low = Vec::new();
    for _ in 0..5 {
        let task = Task::new("sleep", json!({ "ms": 200 }));
        low.push(rig.submit(task.on(SessionLane::Execute)).await?);
    }
    let high = rig.submit(Task::new("echo", json!(1))).await?;
    rig.worker_with(Setup {
        concurrency: 1,
        ..Setup::default()
    })
    .await?;
    let high = rig.ends(&high, Outcome::Completed).await?.started_at_ms;
    let mut before = 0;
    for id in &low {
        let began = rig.ends(id, Outcome::Completed).await?.started_at_ms;
        before += usize::from(began < high);
    }
    // One may be on its way already when the lanes are asked for the first time.
    ensure!(
        before <= 1,
        "{before} tasks of Execute went before one of Query"
    );
    rig.nothing_is_left().await
}

/// A pull that waits longer than this is to have heartbeats.
const SOON: Duration = Duration::from_secs(5);

async fn pulls_ask_for_what_fits_and_for_signs_of_life(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker().await?;
    let mut ids = Vec::new();
    for lane in SessionLane::ALL {
        ids.push(rig.submit(Task::new("echo", json!(1)).on(lane)).await?);
    }
    for id in &ids {
        rig.ends(id, Outcome::Completed).await?;
    }
    let mut pulls = tap.pulls("A3S_TASKS");
    // A question whether it may pull at all, which the broker refuses as malformed.
    pulls.retain(|pull| pull.get("batch").is_none_or(Value::is_u64));
    ensure!(!pulls.is_empty(), "it did not pull");
    for pull in &pulls {
        // Two slots, and the one of the Control lane.
        let batch = pull["batch"].as_u64().unwrap_or(1);
        ensure!(batch <= 3, "a worker with 2 slots asked for {pull}");
        // One that ends soon is known to be lost soon.
        let expires = pull["expires"].as_u64().unwrap_or(u64::MAX);
        let waits = pull["no_wait"] != true && u128::from(expires) > SOON.as_nanos();
        let beats = pull["idle_heartbeat"].as_u64().is_some_and(|ns| ns > 0);
        ensure!(
            !waits || beats,
            "nobody can tell that this pull is lost: {pull}"
        );
    }
    Ok(())
}

async fn control_has_a_slot_of_its_own(rig: &mut Rig) -> Result<()> {
    rig.worker_with(Setup {
        concurrency: 1,
        ..Setup::default()
    })
    .await?;
    let long = rig.submit(Task::count(&rig.path("f"), 600_000)).await?;
    rig.started("f", 1).await?;
    let control = rig
        .submit(Task::new("echo", json!(1)).on(SessionLane::Control))
        .await?;
    rig.ends(&control, Outcome::Completed).await?;
    rig.cancel(crate::task::SESSION, &long).await?;
    rig.ends(&long, Outcome::Cancelled).await?;
    rig.nothing_is_left().await
}

async fn a_lane_that_is_not_served_is_left_alone(rig: &mut Rig) -> Result<()> {
    let setup = Setup {
        lanes: Some("query,generate"),
        ..Setup::default()
    };
    rig.worker_with(setup).await?;
    let other = rig
        .submit(Task::new("echo", json!(1)).on(SessionLane::Execute))
        .await?;
    for lane in [SessionLane::Query, SessionLane::Generate] {
        let id = rig.submit(Task::new("echo", json!(1)).on(lane)).await?;
        rig.ends(&id, Outcome::Completed).await?;
    }
    ensure!(
        rig.stored_results(&other).await? == 0,
        "a task of another lane was answered"
    );
    let pulls = rig.waiting_pulls(SessionLane::Execute).await?;
    ensure!(
        pulls == 0 && rig.held().await? == 0,
        "{pulls} pulls wait at another lane"
    );
    Ok(())
}
