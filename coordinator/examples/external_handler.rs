//! A handler in this process for the tasks of a lane: a worker without a broker in between.
//!
//! Run: `cargo run --example external_handler`

use a3s_coordinator::{Coordinator, SessionQueueConfig, Task};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{
    ExternalTask, ExternalTaskResult, LaneHandlerConfig, SessionLane, TaskHandlerMode,
};
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;
use serde_json::json;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("external_handler")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    let config = SessionQueueConfig::default()
        .with_lane_features()
        .with_lane_handler(
            SessionLane::Execute,
            LaneHandlerConfig {
                mode: TaskHandlerMode::External,
                timeout_ms: 30_000,
            },
        );
    let session = coordinator.session("external-handler").config(config);
    let session = session.open().await?;

    session
        .set_external_task_handler(|task: ExternalTask| async move {
            println!("worker received task: {}", task.command_type);
            ExternalTaskResult {
                success: true,
                result: json!({ "output": format!("{} completed", task.payload["command"]) }),
                ..ExternalTaskResult::default()
            }
        })
        .await;

    let task = Task::new("bash", json!({ "command": "make" }));
    let result = session.submit(SessionLane::Execute, task).await?.await?;
    println!("result: {}", result.result["output"]);

    coordinator.close().await;
    Ok(())
}
