//! The polling loop that the documents of A3S Code have for workers, as a peer: a session whose Query
//! lane is External, calls of a tool, and a worker that looks for them every 100 ms. The worker is a
//! loop on the session itself, so it is in the submitter's process; nothing leaves it.

use std::sync::Arc;
use std::time::Duration;

use a3s_code_core::queue::{
    ExternalTaskResult, LaneHandlerConfig, SessionLane, SessionQueueConfig, TaskHandlerMode,
};
use a3s_code_core::{Agent, AgentSession, SessionOptions};
use anyhow::{Result, ensure};
use closed_loop::{drive, number};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How long the worker sleeps when there is nothing to do, as in the documents.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a call may take, as in the documents.
const TIMEOUT_MS: u64 = 120_000;

/// An agent cannot be without a model; calls of the host never ask it.
const AGENT: &str = r#"
default_model = "openai/none"
providers "openai" {
  api_key  = "none"
  base_url = "http://127.0.0.1:9"
  models "none" {
    name      = "none"
    tool_call = true
  }
}
memory {
  llm_extraction = false
}
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let agent = Agent::new(AGENT).await?;
    let session = Arc::new(external_session(&agent).await?);
    tokio::spawn(work(Arc::clone(&session)));
    drive(move |_| {
        let session = Arc::clone(&session);
        async move {
            let call = json!({ "pattern": "x".repeat(240) });
            let result = session.tool("grep", call).await?;
            ensure!(result.exit_code == 0, "{}", result.output);
            Ok(())
        }
    })
    .await
}

/// A session whose reads are done by whoever looks for them, as many at a time as there are slots.
async fn external_session(agent: &Agent) -> Result<AgentSession> {
    let queue = SessionQueueConfig {
        query_max_concurrency: number("SLOTS")?,
        ..Default::default()
    };
    let options = SessionOptions::new().with_queue_config(queue);
    let session = agent.session_async(".", Some(options)).await?;
    let external = LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        timeout_ms: TIMEOUT_MS,
    };
    session
        .set_lane_handler(SessionLane::Query, external)
        .await?;
    Ok(session)
}

/// The documents' worker, with nothing for it to do.
async fn work(session: Arc<AgentSession>) {
    loop {
        let tasks = session.pending_external_tasks().await;
        if tasks.is_empty() {
            sleep(LOOK_EVERY).await;
            continue;
        }
        let mut under_way = JoinSet::new();
        for task in tasks {
            let session = Arc::clone(&session);
            under_way.spawn(async move {
                let done = ExternalTaskResult {
                    success: true,
                    result: json!({ "output": "" }),
                    error: None,
                };
                session.complete_external_task(&task.task_id, done).await
            });
        }
        under_way.join_all().await;
    }
}
