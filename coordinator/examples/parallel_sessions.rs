//! Many sessions of one process side by side, over one connection.
//!
//! Run: `cargo run --example parallel_sessions`

use std::path::Path;

use a3s_coordinator::{Coordinator, SessionCommand};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::SessionLane;
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use clap::Parser;
use serde_json::{Value, json};
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
}

/// Looks for lines that are too long. It runs in this process: the lane's mode is Internal.
struct Review {
    file: &'static str,
}

#[async_trait::async_trait]
impl SessionCommand for Review {
    async fn execute(&self) -> anyhow::Result<Value> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src")
            .join(self.file);
        let text = tokio::fs::read_to_string(path).await?;
        let issues = text.lines().filter(|line| line.len() > 100).count();
        Ok(json!({ "lines": text.lines().count(), "issues": issues }))
    }

    fn command_type(&self) -> &str {
        "review"
    }

    fn payload(&self) -> Value {
        json!({ "file": self.file })
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("parallel_sessions")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    let files = ["lib.rs", "error.rs", "handle.rs", "command.rs"];
    let mut reviews = JoinSet::new();
    for (number, file) in files.into_iter().enumerate() {
        let coordinator = coordinator.clone();
        reviews.spawn(async move {
            let session = coordinator
                .session(format!("review-{number}"))
                .open()
                .await?;
            let handle = session.submit(SessionLane::Query, Review { file }).await?;
            let result = handle.await?.result;
            session.close().await;
            anyhow::Ok((file, result))
        });
    }
    while let Some(review) = reviews.join_next().await {
        let (file, result) = review??;
        println!(
            "{file}: {} issues in {} lines",
            result["issues"], result["lines"]
        );
    }

    coordinator.close().await;
    Ok(())
}
