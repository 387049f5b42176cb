//! Parallel code search: what the agent reads and greps is done by all workers at once.
//!
//! Run: start some `a3s-worker --workspace <the sources>`, then
//! `cargo run --example parallel_code_search -- --config agent.acl`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use a3s_code_core::queue::{SessionLane, TaskHandlerMode};
use a3s_code_core::{Agent, PlanningMode, SessionOptions};
use a3s_code_fleet::{Fleet, FleetOptions};
use a3s_coordinator::Coordinator;
use a3s_shared::broker::Settings;
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
    /// The agent's configuration
    #[arg(long, default_value = "agent.acl")]
    config: PathBuf,
    /// What to search for
    #[arg(default_value = "Search for all authentication functions")]
    prompt: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("parallel_code_search")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    // Reads go to workers; commands and writes stay here.
    let options = FleetOptions::new()
        .lane(SessionLane::Query, TaskHandlerMode::External, 120_000)
        .lane(SessionLane::Execute, TaskHandlerMode::Internal, 60_000);
    let base = SessionOptions::new().with_planning_mode(PlanningMode::Disabled);
    let (session, prepared) = options.prepare(base);
    let agent = Agent::new(args.config.to_string_lossy()).await?;
    let session = Arc::new(agent.session_async(".", Some(session)).await?);
    let fleet = Fleet::attach(&session, &coordinator, prepared).await?;
    let mut reports = fleet.subscribe();

    let answer = session.send(&args.prompt, None).await?;
    println!("{}", answer.text);

    let mut workers = BTreeMap::<String, u32>::new();
    while let Ok(report) = reports.try_recv() {
        *workers.entry(report.worker_id).or_default() += 1;
    }
    println!("{} tasks: {workers:?}", fleet.stats().submitted);
    fleet.close().await;
    coordinator.close().await;
    Ok(())
}
