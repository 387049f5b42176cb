//! The product as a host uses it: its library, a lane whose tasks go to workers.

use a3s_coordinator::Coordinator;
use a3s_coordinator::bench::{drive, open_sessions};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::Token;
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use anyhow::Result;

use crate::load::{Orders, Report};
use crate::usage::{between, sample};

/// Does what it is told.
pub(crate) async fn submit(orders: &Orders) -> Result<Report> {
    let options = ConnectOptions::to(&orders.url);
    let connection = connect(&options, &Role::coordinator("a3s-bench")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;
    let name = Token::unique();
    let sessions = open_sessions(
        &coordinator,
        &name.to_string(),
        orders.sessions,
        orders.in_flight,
        orders.encoding,
    )
    .await?;
    let load = orders.warm_up();
    let payload = load.payload(sessions[0].id(), orders.encoding);
    let warm = drive(&sessions, &payload, &load, true).await?;
    let before = sample(&orders.watch)?;
    let timings = drive(&sessions, &payload, &orders.measured(), true).await?;
    let after = sample(&orders.watch)?;
    coordinator.close().await;
    Ok(Report {
        submitted: warm.tasks() + timings.tasks(),
        summary: timings.summary(),
        usage: between(&before, &after),
    })
}
