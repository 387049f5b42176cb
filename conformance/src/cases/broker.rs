//! The broker is absent for a while, or new.

use a3s_shared::broker::Settings;
use a3s_shared::protocol::{Outcome, SessionLane};
use a3s_testkit::Proxy;
use anyhow::{Result, ensure};
use serde_json::json;

use super::cases;
use crate::rig::{Rig, Setup};
use crate::task::Task;

cases! { "broker":
    Full Ready a_restart_of_the_server_is_survived_in_the_middle_of_a_task
    Full Ready a_killed_server_loses_no_accepted_task
    Full Ready a_cut_link_heals
    Full Ready a_silent_link_is_noticed_and_asked_again
    Full Empty a_worker_that_comes_first_sets_the_broker_up_as_everybody_would
}

async fn works(rig: &Rig) -> Result<()> {
    for lane in SessionLane::ALL {
        let id = rig.submit(Task::new("echo", json!(1)).on(lane)).await?;
        rig.ends(&id, Outcome::Completed).await?;
    }
    rig.nothing_is_left().await
}

async fn a_restart_of_the_server_is_survived_in_the_middle_of_a_task(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let id = rig.submit(Task::count(&rig.path("f"), 3_000)).await?;
    rig.started("f", 1).await?;
    rig.server.restart().await;
    // A slow restart costs the lease, and with it an attempt.
    rig.ends(&id, Outcome::Completed).await?;
    rig.nothing_is_left().await?;
    works(rig).await
}

async fn a_killed_server_loses_no_accepted_task(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push((n, rig.submit(Task::new("echo", json!(n))).await?));
    }
    rig.server.kill();
    rig.server.start_again().await;
    for (n, id) in ids {
        let result = rig.ends(&id, Outcome::Completed).await?;
        ensure!(result.result == json!(n), "{result:?}");
    }
    rig.nothing_is_left().await
}

async fn a_cut_link_heals(rig: &mut Rig) -> Result<()> {
    let proxy = Proxy::to(rig.server.url()).await;
    let url = Some(proxy.url().to_owned());
    rig.worker_with(Setup {
        url,
        ..Setup::default()
    })
    .await?;
    works(rig).await?;
    proxy.cut();
    let id = rig.submit(Task::new("echo", json!(1))).await?;
    proxy.heal();
    rig.ends(&id, Outcome::Completed).await?;
    works(rig).await
}

async fn a_silent_link_is_noticed_and_asked_again(rig: &mut Rig) -> Result<()> {
    let proxy = Proxy::to(rig.server.url()).await;
    let url = Some(proxy.url().to_owned());
    rig.worker_with(Setup {
        url,
        ..Setup::default()
    })
    .await?;
    proxy.blackhole();
    let id = rig.submit(Task::new("echo", json!(1)).attempts(50)).await?;
    // Longer than the silence after which a pull is lost.
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    proxy.heal();
    rig.ends(&id, Outcome::Completed).await?;
    works(rig).await
}

async fn a_worker_that_comes_first_sets_the_broker_up_as_everybody_would(
    rig: &mut Rig,
) -> Result<()> {
    rig.worker().await?;
    let drift = rig.broker.ensure(&Settings::default()).await?;
    let drift: Vec<_> = drift.iter().map(ToString::to_string).collect();
    ensure!(drift.is_empty(), "{}", drift.join("; "));
    let stream = rig.broker.jetstream().get_stream("A3S_TASKS").await?;
    let schema = stream
        .cached_info()
        .config
        .metadata
        .get("a3s.schema")
        .cloned();
    ensure!(
        schema.as_deref() == Some("1"),
        "the stream's schema is {schema:?}"
    );
    works(rig).await
}
