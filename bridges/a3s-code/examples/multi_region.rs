//! Multi-region file processing: one agent, a session for each region, and workers that read what
//! is near them.
//!
//! Run: start `a3s-worker --pool us-east` and `a3s-worker --pool eu-west`, then
//! `cargo run --example multi_region -- --config agent.acl us-east eu-west`

use std::path::PathBuf;
use std::sync::Arc;

use a3s_code_core::{Agent, PlanningMode, SessionOptions};
use a3s_code_fleet::{Fleet, FleetOptions};
use a3s_coordinator::Coordinator;
use a3s_shared::broker::Settings;
use a3s_shared::protocol::Route;
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
    /// The agent's configuration
    #[arg(long, default_value = "agent.acl")]
    config: PathBuf,
    /// The regions: pools of workers
    regions: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("multi_region")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;
    let agent = Arc::new(Agent::new(args.config.to_string_lossy()).await?);

    let mut regions = JoinSet::new();
    for region in args.regions {
        regions.spawn(process(Arc::clone(&agent), coordinator.clone(), region));
    }
    while let Some(region) = regions.join_next().await {
        println!("{}", region??);
    }
    coordinator.close().await;
    Ok(())
}

/// Has a file of a region read in that region, and says by whom.
async fn process(
    agent: Arc<Agent>,
    coordinator: Coordinator,
    region: String,
) -> anyhow::Result<String> {
    let options = FleetOptions::new().route(Route::Pool(region.clone()));
    let base = SessionOptions::new().with_planning_mode(PlanningMode::Disabled);
    let (session, prepared) = options.prepare(base);
    let session = Arc::new(agent.session_async(".", Some(session)).await?);
    let fleet = Fleet::attach(&session, &coordinator, prepared).await?;
    let mut reports = fleet.subscribe();

    let prompt = format!("task: read region.txt in {region}");
    session.send(&prompt, None).await?;
    let report = reports.try_recv()?;
    fleet.close().await;
    let error = report.error.unwrap_or_default();
    Ok(format!(
        "{region}: {} by {} {error}",
        report.command_type, report.worker_id
    ))
}
