//! Tasks that run in this process, while a monitoring system elsewhere hears of each start, end
//! and failure. The monitor here is a plain NATS subscriber: `nats sub 'a3s.*.event.>'` sees the
//! same.
//!
//! Run: `cargo run --example hybrid_monitor`

use a3s_coordinator::{Coordinator, SessionCommand};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{LaneHandlerConfig, SessionLane, TaskHandlerMode};
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;
use futures::StreamExt;
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
}

/// Adds numbers; refuses to add none.
struct Sum(Vec<i64>);

#[async_trait::async_trait]
impl SessionCommand for Sum {
    async fn execute(&self) -> anyhow::Result<Value> {
        anyhow::ensure!(!self.0.is_empty(), "nothing to add");
        Ok(json!({ "sum": self.0.iter().sum::<i64>() }))
    }

    fn command_type(&self) -> &str {
        "sum"
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("hybrid_monitor")).await?;
    let monitor = connection.client.clone();
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    // The outside world: knows the subject and JSON, and nothing of this program.
    let subject = coordinator.broker().names().event("hybrid", ">");
    let mut events = monitor.subscribe(subject).await?;
    monitor.flush().await?;
    let log = tokio::spawn(async move {
        while let Some(message) = events.next().await {
            let event: Value = serde_json::from_slice(&message.payload)?;
            println!("{}", log_line(&event));
            if event["kind"] == "queue.shutdown.complete" {
                break;
            }
        }
        anyhow::Ok(())
    });

    let session = coordinator.session("hybrid").open().await?;
    let hybrid = LaneHandlerConfig {
        mode: TaskHandlerMode::Hybrid,
        timeout_ms: 60_000,
    };
    session.set_lane_handler(SessionLane::Execute, hybrid).await;
    for numbers in [vec![1, 2, 3], vec![]] {
        session
            .submit(SessionLane::Execute, Sum(numbers))
            .await?
            .await?;
    }
    session.close().await;

    log.await??;
    coordinator.close().await;
    Ok(())
}

fn log_line(event: &Value) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let kind = text("kind");
    let duration = match event["duration_ms"].as_u64() {
        Some(ms) => format!(" in {ms} ms"),
        None => String::new(),
    };
    format!(
        "{kind} {}{duration} {}",
        text("command_type"),
        text("error")
    )
}
