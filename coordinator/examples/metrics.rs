//! What a session knows of itself: queue statistics, counters, latencies, alerts.
//!
//! Run: `cargo run --example metrics`

use std::time::Duration;

use a3s_coordinator::{Coordinator, SessionQueueConfig, Task};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{ExternalTask, ExternalTaskResult, SessionLane};
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;
use serde_json::json;
use tokio::time::sleep;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
}

/// Enough to be told that the queue is deep: the first alert comes at 50.
const TASKS: usize = 60;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("metrics")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;
    let config = SessionQueueConfig::default()
        .with_external_lanes()
        .with_metrics()
        .with_alerts();
    let session = coordinator.session("metrics").config(config).open().await?;
    session
        .set_external_task_handler(|task: ExternalTask| async move {
            sleep(Duration::from_millis(5)).await;
            ExternalTaskResult {
                success: task.payload["n"] != 13,
                ..ExternalTaskResult::default()
            }
        })
        .await;
    let mut alerts = session.subscribe_alerts();

    // Paused, so that the numbers do not depend on how fast this machine is.
    session.pause().await?;
    let mut handles = Vec::new();
    for n in 0..TASKS {
        let task = Task::new("step", json!({ "n": n }));
        handles.push(session.submit(SessionLane::Query, task).await?);
    }
    let stats = session.queue_stats().await;
    println!(
        "pending: {}, active: {}, external: {}",
        stats.pending_count(),
        stats.active_count(),
        stats.external_count()
    );
    println!("alert: {}", alerts.recv().await?.message);
    session.resume().await?;
    for handle in handles {
        handle.await?;
    }

    if let Some(metrics) = session.queue_metrics().await {
        println!("total processed: {}", metrics.total_processed);
        println!("success rate: {:.2} %", metrics.success_rate * 100.0);
        println!("average latency: {:?}", metrics.avg_latency);
        println!(
            "p95 latency: {:?}, p99: {:?}",
            metrics.p95_latency, metrics.p99_latency
        );
    }

    coordinator.close().await;
    Ok(())
}
