//! Distributed test execution: the commands that the agent runs are run by workers, each at most
//! once.
//!
//! Run: start some `a3s-worker --workspace <the sources>`, then
//! `cargo run --example distributed_tests -- --config agent.acl`

use std::path::PathBuf;
use std::sync::Arc;

use a3s_code_core::queue::{SessionLane, TaskHandlerMode};
use a3s_code_core::{Agent, AgentEvent, PlanningMode, SessionOptions};
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
    /// What to test
    #[arg(default_value = "Run all tests in parallel")]
    prompt: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("distributed_tests")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    let options =
        FleetOptions::new().lane(SessionLane::Execute, TaskHandlerMode::External, 300_000);
    let base = SessionOptions::new().with_planning_mode(PlanningMode::Disabled);
    let (session, prepared) = options.prepare(base);
    let agent = Agent::new(args.config.to_string_lossy()).await?;
    let session = Arc::new(agent.session_async(".", Some(session)).await?);
    let fleet = Fleet::attach(&session, &coordinator, prepared).await?;

    let (mut passed, mut failed) = (0, 0);
    let (mut events, _agent) = session.stream(&args.prompt, None).await?;
    while let Some(event) = events.recv().await {
        fleet.observe(&event);
        match event {
            AgentEvent::ToolEnd { exit_code: 0, .. } => passed += 1,
            AgentEvent::ToolEnd { .. } => failed += 1,
            AgentEvent::TextDelta { text } => print!("{text}"),
            _ => {}
        }
    }
    println!("\n{passed} passed, {failed} failed");
    fleet.close().await;
    coordinator.close().await;
    Ok(())
}
