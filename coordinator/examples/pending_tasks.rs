//! A host that polls for external tasks and completes them itself. Several may: a task is leased
//! to one of them at a time.
//!
//! Run: `cargo run --example pending_tasks`

use std::time::Duration;

use a3s_coordinator::{Coordinator, Session, SessionQueueConfig, Task};
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

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let connection = connect(&args.connect, &Role::coordinator("pending_tasks")).await?;
    let coordinator = Coordinator::start(connection, Settings::default()).await?;
    let config = SessionQueueConfig::default().with_external_lanes();
    let session = coordinator.session("pending").config(config).open().await?;

    // The first poll makes this process the one that runs the session's external tasks.
    session.pending_external_tasks().await;
    let pollers = ["one", "two"].map(|name| tokio::spawn(poll(session.clone(), name)));

    let mut handles = Vec::new();
    for command in ["echo a", "echo b", "exit 3"] {
        let task = Task::new("bash", json!({ "command": command }));
        handles.push(session.submit(SessionLane::Execute, task).await?);
    }
    for handle in handles {
        let result = handle.await?;
        println!("{}: {}", result.outcome(), result.result["stdout"]);
    }
    let late = ExternalTaskResult::default();
    let known = session.complete_external_task("nosuch", late).await;
    println!("an unknown task was completed: {known}");

    for poller in pollers {
        poller.abort();
    }
    coordinator.close().await;
    Ok(())
}

async fn poll(session: Session, name: &'static str) {
    loop {
        for task in session.pending_external_tasks().await {
            println!("poller {name} runs {}", task.payload["command"]);
            let result = execute(&task).await;
            session.complete_external_task(&task.task_id, result).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn execute(task: &ExternalTask) -> ExternalTaskResult {
    let command = task.payload["command"].as_str().unwrap_or_default();
    let output = tokio::process::Command::new("sh")
        .args(["-c", command])
        .output();
    match output.await {
        Ok(output) => ExternalTaskResult {
            success: output.status.success(),
            result: json!({
                "stdout": String::from_utf8_lossy(&output.stdout),
                "stderr": String::from_utf8_lossy(&output.stderr),
                "exit_code": output.status.code(),
            }),
            error: (!output.status.success()).then(|| output.status.to_string()),
            ..ExternalTaskResult::default()
        },
        Err(error) => ExternalTaskResult {
            error: Some(error.to_string()),
            ..ExternalTaskResult::default()
        },
    }
}
