//! Several workers, and workers of one session.

use std::collections::{BTreeMap, BTreeSet};

use a3s_shared::protocol::{Outcome, Route, SessionLane, SessionRecord, SessionState};
use anyhow::{Context, Result, ensure};

use super::cases;
use crate::rig::{Rig, Setup};
use crate::tap::Tap;
use crate::task::Task;
use crate::wait::{bound, until};

cases! { "fleet":
    Full Ready two_workers_never_run_a_task_twice
    Full Ready a_worker_of_a_session_takes_its_own_tasks_and_no_others
    Full Ready a_worker_of_a_session_that_is_on_a_pool_refuses_to_start
}

async fn two_workers_never_run_a_task_twice(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    rig.worker().await?;
    let mut ids = Vec::new();
    for n in 0..40 {
        let file = format!("f{n}");
        let task = Task::count(&rig.path(&file), 200);
        let task = if n % 2 == 0 { task.once() } else { task };
        ids.push((file, rig.submit(task).await?));
    }
    let mut workers = BTreeSet::new();
    for (file, id) in &ids {
        let result = rig.ends(id, Outcome::Completed).await?;
        ensure!(result.attempt == 1, "{result:?}");
        rig.expect_starts(file, 1).with_context(|| id.clone())?;
        workers.insert(result.worker_id);
    }
    ensure!(workers.len() == 2, "all were run by {workers:?}");
    rig.nothing_is_left().await
}

fn own(id: &'static str) -> Setup {
    Setup {
        session: Some(id),
        ..Setup::default()
    }
}

async fn a_worker_of_a_session_takes_its_own_tasks_and_no_others(rig: &mut Rig) -> Result<()> {
    let tap = Tap::open(rig.broker.client()).await?;
    rig.worker_with(own("mine")).await?;
    let (record, _) = rig
        .broker
        .session("mine")
        .await?
        .context("it left no record of the session")?;
    ensure!(record.route == Route::Own, "{record:?}");
    let body = r#"{"command_type":"echo","payload":7}"#;
    let pool = rig.publish("a3s.mine.query", &[], body).await?;
    let other = rig.publish("a3s.other.own.query", &[], body).await?;
    for lane in SessionLane::ALL {
        let sequence = rig
            .publish(&format!("a3s.mine.own.{}", lane.id()), &[], body)
            .await?;
        let result = rig.result_of("mine", &format!("o{sequence}")).await?;
        ensure!(
            result.outcome() == Outcome::Completed && result.lane == lane,
            "{result:?}"
        );
    }
    // Where a cap is reached such a pull is never answered.
    let pulls = tap.pulls("A3S_OWN");
    let impatient = pulls.iter().find(|pull| pull["no_wait"] == true);
    ensure!(
        impatient.is_none(),
        "it pulled own tasks with {impatient:?}"
    );
    until("only the two others are left", async || {
        let own = rig.stored_tasks("A3S_OWN").await?;
        ensure!(own == 1, "{own} tasks are in A3S_OWN");
        Ok(())
    })
    .await?;
    ensure!(
        rig.stored_tasks("A3S_TASKS").await? == 1,
        "it took task {pool} of the pool"
    );
    let strange = rig.broker.result("other", &format!("o{other}")).await?;
    ensure!(
        strange.is_none(),
        "it took the task of another session: {strange:?}"
    );
    Ok(())
}

async fn a_worker_of_a_session_that_is_on_a_pool_refuses_to_start(rig: &mut Rig) -> Result<()> {
    let record = SessionRecord {
        session_id: "taken".to_owned(),
        route: Route::Pool("eu".to_owned()),
        state: SessionState::Open,
        lanes: BTreeMap::new(),
        created_at_ms: 1,
        cancelled_before_ms: 0,
    };
    rig.broker.create_session(&record).await?;
    let worker = rig.start_worker(own("taken"));
    let status = rig.process(worker).wait(bound()).await;
    ensure!(!status.success(), "it ended with {status}");
    let said = rig.process(worker).stderr();
    ensure!(said.contains("eu"), "it does not say which pool: {said:?}");
    Ok(())
}
