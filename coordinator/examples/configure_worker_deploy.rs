//! The three steps of a distributed session: configure it, have workers, deploy them. The worker
//! is a real `a3s-worker` process; on other machines it is started with the same two settings.
//!
//! Run: `cargo build -p a3s-worker && cargo run --example configure_worker_deploy`

use std::path::PathBuf;

use a3s_coordinator::{Coordinator, SessionQueueConfig, Task};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{LaneHandlerConfig, Route, SessionLane, TaskHandlerMode};
use a3s_shared::runtime::{ConnectOptions, Role, connect, env_lines};
use anyhow::Context;
use clap::Parser;
use serde_json::json;
use tokio::process::{Child, Command};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    connect: ConnectOptions,
    /// The worker program [default: the one beside this example]
    #[arg(long, env = "A3S_WORKER_PROGRAM")]
    worker: Option<PathBuf>,
}

const SESSION: &str = "abc123";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("configure_worker_deploy")).await?;
    let join = env_lines(&connection);
    let coordinator = Coordinator::start(connection, Settings::default()).await?;

    // Step 1: configure the session. Its tasks go to workers of its own.
    let config = SessionQueueConfig {
        query_max_concurrency: 20,
        execute_max_concurrency: 5,
        enable_metrics: true,
        enable_dlq: true,
        ..SessionQueueConfig::default()
    };
    let session = coordinator
        .session(SESSION)
        .config(config)
        .route(Route::Own)
        .open()
        .await?;
    let workers = LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        timeout_ms: 120_000,
    };
    session.set_lane_handler(SessionLane::Query, workers).await;
    if let Some(waits) = session.unserved(SessionLane::Query) {
        println!("before: {waits}");
    }

    // Steps 2 and 3: the worker, deployed. On another machine:
    //   NATS_URL=nats://… a3s-worker --session-id abc123
    let mut worker = deploy(args.worker, &join)?;
    let tasks = ["Cargo.toml", "src/lib.rs"].map(|path| Task::new("read", json!({ "path": path })));
    for task in tasks {
        let result = session.submit(SessionLane::Query, task).await?.await?;
        let content = result.result["content"].as_str().unwrap_or_default();
        println!(
            "read {} lines on {}",
            content.lines().count(),
            result.worker_id
        );
    }

    worker.kill().await?;
    coordinator.close().await;
    Ok(())
}

/// Starts a worker that knows the server as this process does. It ends with this process.
fn deploy(program: Option<PathBuf>, join: &[(String, String)]) -> anyhow::Result<Child> {
    let program = match program {
        Some(program) => program,
        None => {
            let example = std::env::current_exe()?;
            let target = example.ancestors().nth(2).context("no target directory")?;
            target.join("a3s-worker")
        }
    };
    Command::new(&program)
        .args([
            "--session-id",
            SESSION,
            "--workspace",
            env!("CARGO_MANIFEST_DIR"),
        ])
        .args(["--worker-id", "worker-1"])
        .envs(join.iter().map(|(name, value)| (name, value)))
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}: build a3s-worker first", program.display()))
}
