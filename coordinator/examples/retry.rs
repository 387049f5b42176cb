//! A handler that tries again, with growing waits. For tasks on workers the broker does it, without
//! holding a slot: `Task::retries`, or a tool that answers `Verdict::Retry`.
//!
//! Run: `cargo run --example retry`

use a3s_coordinator::{Coordinator, SessionQueueConfig, Task, with_retry};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{ExternalTask, ExternalTaskResult, RetryPolicy, SessionLane};
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
    let connection = connect(&args.connect, &Role::coordinator("retry")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = coordinator.session("retry").config(config).open().await?;

    // Three attempts after the first, with 100, 200 and 400 ms between, spread a little.
    let policy = RetryPolicy::default();
    session
        .set_external_task_handler(move |task: ExternalTask| async move {
            let task = &task;
            with_retry(policy, move |attempt| fetch(task, attempt)).await
        })
        .await;

    for available_at in [3, 99] {
        let task = Task::new("web_fetch", json!({ "available_at": available_at }));
        let result = session.submit(SessionLane::Query, task).await?.await?;
        match result.error {
            None => println!("succeeded at attempt {}", result.attempt),
            Some(error) => println!("gave up: {error}"),
        }
    }

    coordinator.close().await;
    Ok(())
}

/// A server that answers from some attempt on.
async fn fetch(task: &ExternalTask, attempt: u32) -> ExternalTaskResult {
    let available_at = task.payload["available_at"].as_u64().unwrap_or_default();
    let success = u64::from(attempt) >= available_at;
    println!("attempt {attempt}: {}", if success { "ok" } else { "503" });
    ExternalTaskResult {
        success,
        result: json!({}),
        error: (!success).then(|| "503 service unavailable".to_owned()),
        ..ExternalTaskResult::default()
    }
}
