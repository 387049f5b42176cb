//! What the broker layer promises, shown on a real nats-server.

mod acks;
mod ensure;
mod fleet;
mod look;
mod records;
mod replays;
mod results;
mod sessions;
mod shell;
mod tasks;
mod version;

use std::time::Duration;

use a3s_shared::broker::{Broker, Settings, TaskOptions};
use a3s_shared::protocol::{
    Effect, Encoding, ExternalTask, RetryPolicy, Route, SessionLane, TaskResult, Token, clock,
};
use a3s_testkit::Server;
use serde_json::json;

/// The longest any single thing may take on a busy machine.
const BOUND: Duration = Duration::from_secs(20);

/// A server with its streams, and a connection to it.
struct Rig {
    server: Server,
    broker: Broker,
}

impl Rig {
    async fn start() -> Self {
        Self::with(Server::start().await, &Settings::default()).await
    }

    async fn with(server: Server, settings: &Settings) -> Self {
        let broker = connect(&server).await;
        broker
            .ensure(settings)
            .await
            .expect("the streams are created");
        Self { server, broker }
    }

    /// How many messages a stream holds.
    async fn count(&self, stream: &str) -> u64 {
        let stream = self.broker.jetstream().get_stream(stream).await;
        stream
            .expect("the stream exists")
            .cached_info()
            .state
            .messages
    }
}

async fn connect(server: &Server) -> Broker {
    Broker::new(server.client().await, None, "a3s").expect("a valid prefix")
}

fn task(payload: serde_json::Value) -> ExternalTask {
    ExternalTask {
        task_id: Token::unique().into(),
        session_id: "s".into(),
        lane: SessionLane::Query,
        command_type: "read".into(),
        payload,
        timeout_ms: 60_000,
        deadline_ms: clock::now_ms() + 60_000,
    }
}

fn options() -> TaskOptions {
    TaskOptions {
        effect: Effect::Idempotent,
        retry: RetryPolicy::default(),
        encoding: Encoding::Json,
        traceparent: None,
        workspace: None,
    }
}

fn pool() -> Route {
    Route::Pool("default".into())
}

/// The result of task `id` as worker `worker` has it.
fn result(id: &str, worker: &str) -> TaskResult {
    TaskResult {
        task_id: id.into(),
        session_id: "s".into(),
        lane: SessionLane::Query,
        command_type: "read".into(),
        success: true,
        result: json!({ "content": worker }),
        error: None,
        error_kind: None,
        attempt: 1,
        worker_id: worker.into(),
        started_at_ms: clock::now_ms(),
        duration_ms: 1,
    }
}
