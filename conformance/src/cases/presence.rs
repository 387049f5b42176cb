//! What a worker says of itself.

use a3s_shared::protocol::{Encoding, Presence, Serves, SessionLane, clock};
use anyhow::{Context, Result, ensure};

use super::cases;
use crate::rig::{Rig, Setup};
use crate::wait::until;

cases! { "presence":
    Full Ready a_heartbeat_says_who_serves_what
    Full Ready a_heartbeat_is_renewed
    Full Ready a_worker_that_leaves_takes_its_heartbeat_with_it
    Full Ready a_worker_answers_for_itself
}

async fn a_heartbeat_says_who_serves_what(rig: &mut Rig) -> Result<()> {
    let worker = rig
        .worker_with(Setup {
            concurrency: 3,
            ..Setup::default()
        })
        .await?;
    let id = rig.id(worker).to_owned();
    let pid = rig.process(worker).pid();
    let said = rig.heartbeat(&id).await?.context("it is gone")?;
    ensure!(said.worker_id == id && said.pid == pid, "{said:?}");
    ensure!(
        said.serves == Serves::Pool("default".to_owned()),
        "{said:?}"
    );
    let lanes = SessionLane::ALL
        .iter()
        .all(|lane| said.lanes.contains(lane));
    ensure!(lanes && said.slots == 3 && !said.draining, "{said:?}");
    let tools = [
        "blob", "count", "echo", "fail", "progress", "reject", "retry", "sleep", "throw",
    ];
    for tool in tools {
        ensure!(
            said.tools.iter().any(|t| t == tool),
            "it has no tool {tool}: {:?}",
            said.tools
        );
    }
    ensure!(
        !said.runtime.is_empty() && !said.version.is_empty(),
        "{said:?}"
    );
    ensure!(!said.host.is_empty(), "{said:?}");
    let began = said.started_at_ms;
    ensure!(
        began.abs_diff(clock::now_ms()) < 120_000,
        "it began at {began}"
    );
    Ok(())
}

async fn a_heartbeat_is_renewed(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let first = rig.heartbeat(rig.id(worker)).await?.context("it is gone")?;
    until("a second heartbeat", async || {
        let now = rig.heartbeat(rig.id(worker)).await?.context("it is gone")?;
        ensure!(
            now.seen_at_ms > first.seen_at_ms,
            "it is of {}",
            now.seen_at_ms
        );
        Ok(())
    })
    .await
}

async fn a_worker_that_leaves_takes_its_heartbeat_with_it(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    rig.drain(worker).await?;
    let left = rig.heartbeat(rig.id(worker)).await?;
    ensure!(left.is_none(), "{left:?}");
    Ok(())
}

async fn a_worker_answers_for_itself(rig: &mut Rig) -> Result<()> {
    let worker = rig.worker().await?;
    let id = rig.id(worker);
    let client = rig.broker.client();
    let answer = until("an answer on the worker's own subject", async || {
        client.request(format!("a3s.worker.{id}"), "".into()).await
    });
    let said: Presence = Encoding::Json.decode(&answer.await?.payload)?;
    ensure!(said.worker_id == id, "{said:?}");
    let service = until("an answer to $SRV.PING.a3s-worker", async || {
        client.request("$SRV.PING.a3s-worker", "".into()).await
    });
    let said: serde_json::Value = serde_json::from_slice(&service.await?.payload)?;
    ensure!(
        said["name"] == "a3s-worker" && said["metadata"]["worker_id"] == id,
        "{said}"
    );
    Ok(())
}
