//! Hybrid mode for monitoring: the agent's commands and writes run here, and whoever listens at
//! the broker is told (`a3s-coordinator watch` and `nats sub 'a3s.*.event.>'` show it too).
//!
//! Run: `cargo run --example hybrid_monitoring -- --config agent.acl`

use std::path::PathBuf;
use std::sync::Arc;

use a3s_code_core::permissions::PermissionPolicy;
use a3s_code_core::queue::{SessionLane, TaskHandlerMode};
use a3s_code_core::{Agent, PlanningMode, SessionOptions};
use a3s_code_fleet::{Fleet, FleetOptions};
use a3s_coordinator::Coordinator;
use a3s_shared::broker::Settings;
use a3s_shared::protocol::EventKind;
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
    /// The agent's configuration
    #[arg(long, default_value = "agent.acl")]
    config: PathBuf,
    /// What the agent is to do
    #[arg(default_value = "Write a note into note.txt")]
    prompt: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("hybrid_monitoring")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    let options = FleetOptions::new()
        .lane(SessionLane::Query, TaskHandlerMode::Internal, 60_000)
        .lane(SessionLane::Execute, TaskHandlerMode::Hybrid, 60_000);
    // What runs here is for the host to allow, as without a fleet.
    let allow = PermissionPolicy::new().allow("read").allow("write");
    let base = SessionOptions::new()
        .with_planning_mode(PlanningMode::Disabled)
        .with_permission_policy(allow);
    let (session, prepared) = options.prepare(base);
    let agent = Agent::new(args.config.to_string_lossy()).await?;
    let session = Arc::new(agent.session_async(".", Some(session)).await?);
    let fleet = Fleet::attach(&session, &coordinator, prepared).await?;

    // The monitoring system: any process that can reach the broker.
    let broker = coordinator.broker().clone();
    let mut feed = broker.subscribe_events(Some(fleet.session_id())).await?;
    let monitor = tokio::spawn(async move {
        while let Some(event) = feed.next().await {
            if event.kind == EventKind::ShutdownComplete {
                return;
            }
            if let Some(tool) = event.command_type {
                let ran = event.duration_ms.map(|ms| format!(" in {ms} ms"));
                println!("{} {tool}{}", event.kind.id(), ran.unwrap_or_default());
            }
        }
    });

    let (mut events, _agent) = session.stream(&args.prompt, None).await?;
    while let Some(event) = events.recv().await {
        fleet.observe(&event);
    }
    fleet.close().await;
    monitor.await?;
    coordinator.close().await;
    Ok(())
}
