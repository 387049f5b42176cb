//! Timeouts of a lane and of a single task. The deadline is absolute: what a task waited for is
//! not given to it again, and `remaining_ms` is right on any machine.
//!
//! Run: `cargo run --example timeouts`

use std::time::Duration;

use a3s_coordinator::{Coordinator, SessionQueueConfig, Task};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{
    ExternalTask, ExternalTaskResult, LaneHandlerConfig, SessionLane, TaskHandlerMode,
};
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;
use serde_json::json;
use tokio::time::sleep;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("timeouts")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    // Short for what is fast, long for what is heavy.
    let external = |timeout_ms| LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        timeout_ms,
    };
    let config = SessionQueueConfig::default()
        .with_lane_handler(SessionLane::Query, external(300))
        .with_lane_handler(SessionLane::Execute, external(600_000));
    let session = coordinator
        .session("timeouts")
        .config(config)
        .open()
        .await?;
    session.set_external_task_handler(work).await;

    let task = |ms: u64| Task::new("work", json!({ "ms": ms }));
    let cases = [
        ("a fast query", SessionLane::Query, task(10)),
        ("a slow query", SessionLane::Query, task(60_000)),
        ("a slow command", SessionLane::Execute, task(500)),
        (
            "a command in a hurry",
            SessionLane::Execute,
            task(60_000).timeout_ms(200),
        ),
    ];
    for (name, lane, task) in cases {
        let result = session.submit(lane, task).await?.await?;
        println!(
            "{name}: {} after {} ms",
            result.outcome(),
            result.duration_ms
        );
    }

    coordinator.close().await;
    Ok(())
}

/// Looks at the time that is left before it begins.
async fn work(task: ExternalTask) -> ExternalTaskResult {
    if task.is_timed_out() {
        return ExternalTaskResult {
            error: Some("timed out before it began".to_owned()),
            ..ExternalTaskResult::default()
        };
    }
    let needed = task.payload["ms"].as_u64().unwrap_or_default();
    println!(
        "{needed} ms of work, {} ms are enough: {}",
        task.timeout_ms,
        needed < task.remaining_ms()
    );
    sleep(Duration::from_millis(needed)).await;
    ExternalTaskResult {
        success: true,
        result: json!({}),
        ..ExternalTaskResult::default()
    }
}
