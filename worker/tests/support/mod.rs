//! A real server, real workers, and tasks with their outcomes.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod supervisor;

use std::path::Path;
use std::time::Duration;

use a3s_shared::broker::{Broker, EventFeed, Settings, TaskOptions};
use a3s_shared::protocol::{
    Effect, Encoding, Event, EventKind, ExternalTask, RetryPolicy, Route, SessionLane, TaskResult,
    Token, clock,
};
use a3s_testkit::{Cluster, Process, Server, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The lease in these tests: short, so that a dead worker is noticed soon.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(2);

/// The longest any single thing may take on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// A server with its streams, a workspace for the workers, and our connection.
pub(crate) struct Rig {
    pub(crate) server: Server,
    /// The others of a cluster.
    peers: Vec<Server>,
    pub(crate) broker: Broker,
    pub(crate) workspace: TempDir,
}

/// A task to submit.
pub(crate) struct Job {
    pub(crate) session: &'static str,
    pub(crate) lane: SessionLane,
    pub(crate) command: &'static str,
    pub(crate) payload: Value,
    pub(crate) timeout: Duration,
    pub(crate) effect: Effect,
    pub(crate) retry: RetryPolicy,
    pub(crate) route: Route,
    pub(crate) encoding: Encoding,
}

impl Default for Job {
    fn default() -> Self {
        Self {
            session: "s",
            lane: SessionLane::Query,
            command: "bash",
            payload: json!({ "command": "true" }),
            timeout: BOUND,
            effect: Effect::Idempotent,
            retry: RetryPolicy::default(),
            route: Route::Pool("default".into()),
            encoding: Encoding::Json,
        }
    }
}

/// A shell command on a lane.
pub(crate) fn shell(lane: SessionLane, command: &str) -> Job {
    Job {
        lane,
        payload: json!({ "command": command }),
        ..Job::default()
    }
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with(Server::start().await).await
    }

    pub(crate) async fn with(server: Server) -> Self {
        let client = server.client().await;
        Self::on(server, Vec::new(), client).await
    }

    /// On a cluster of three, where everything is kept three times.
    pub(crate) async fn on_a_cluster() -> Self {
        let cluster = Cluster::start().await;
        let client = cluster.client().await;
        let mut servers = cluster.into_servers();
        let first = servers.remove(0);
        Self::on(first, servers, client).await
    }

    async fn on(server: Server, peers: Vec<Server>, client: async_nats::Client) -> Self {
        let broker = Broker::new(client, None, "a3s").expect("a valid prefix");
        let settings = Settings {
            ack_wait: ACK_WAIT,
            replicas: 1 + peers.len(),
            ..Settings::default()
        };
        broker
            .ensure(&settings)
            .await
            .expect("the streams are created");
        let workspace = TempDir::new().expect("a temporary directory");
        Self {
            server,
            peers,
            broker,
            workspace,
        }
    }

    /// A worker process; `id` names it.
    pub(crate) fn worker(&self, id: &str, arguments: &[&str]) -> Process {
        self.worker_at(&self.url(), id, arguments)
    }

    /// Where its workers connect.
    pub(crate) fn url(&self) -> String {
        let mut urls = vec![self.server.url()];
        urls.extend(self.peers.iter().map(Server::url));
        urls.join(",")
    }

    /// A worker process that reaches the server by `url`.
    pub(crate) fn worker_at(&self, url: &str, id: &str, arguments: &[&str]) -> Process {
        Process::of("a3s-worker")
            .args(["--nats-url", url, "--worker-id", id, "--workspace"])
            .arg(self.workspace.path())
            .args(arguments)
            .start()
    }

    /// A worker process that is ready for tasks.
    pub(crate) async fn ready_worker(&self, id: &str, arguments: &[&str]) -> Process {
        let worker = self.worker(id, arguments);
        worker.wait_for("ready for tasks", BOUND).await;
        worker
    }

    /// Writes an executable script into the workspace and returns its path.
    pub(crate) fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.workspace.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("an executable script");
        path.display().to_string()
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.workspace.path().join(name)).unwrap_or_default()
    }

    /// Submits a task and returns its id.
    pub(crate) async fn submit(&self, job: Job) -> String {
        self.submit_full(job).await.task_id
    }

    pub(crate) async fn submit_full(&self, job: Job) -> ExternalTask {
        let timeout_ms = u64::try_from(job.timeout.as_millis()).expect("a short time");
        let task = ExternalTask {
            task_id: Token::unique().into(),
            session_id: job.session.into(),
            lane: job.lane,
            command_type: job.command.into(),
            payload: job.payload,
            timeout_ms,
            deadline_ms: clock::now_ms() + timeout_ms,
        };
        let options = TaskOptions {
            effect: job.effect,
            retry: job.retry,
            encoding: job.encoding,
            traceparent: None,
            workspace: None,
        };
        self.broker
            .submit(&task, &job.route, &options)
            .await
            .expect("the task is accepted");
        task
    }

    /// The task's result, when it is there.
    pub(crate) async fn result(&self, id: &str) -> TaskResult {
        self.result_of("s", id).await
    }

    pub(crate) async fn result_of(&self, session: &str, id: &str) -> TaskResult {
        eventually(&format!("a result of task {id}"), BOUND * 2, async || {
            let found = self.broker.result(session, id).await;
            found
                .map_err(|e| e.to_string())?
                .ok_or_else(|| "none yet".to_owned())
        })
        .await
    }

    /// No task is left in the streams, and no lease.
    pub(crate) async fn nothing_is_left(&self) {
        eventually("the task streams are empty", BOUND, async || {
            for stream in ["A3S_TASKS", "A3S_OWN"] {
                let stored = self.stored(stream).await?;
                if stored > 0 {
                    return Err(format!("{stored} tasks are left"));
                }
            }
            Ok(())
        })
        .await;
    }

    /// How many messages a stream has.
    pub(crate) async fn stored(&self, stream: &str) -> Result<u64, String> {
        let stream = self.broker.jetstream().get_stream(stream).await;
        Ok(stream
            .map_err(|e| e.to_string())?
            .cached_info()
            .state
            .messages)
    }

    /// All results, oldest first.
    pub(crate) async fn results(&self) -> Vec<TaskResult> {
        let stored = self.broker.scan("A3S_RESULTS", ">", 1).await;
        let mut results = Vec::new();
        for message in stored.expect("the broker answers") {
            let result = self
                .broker
                .read_result(&message.headers, message.body)
                .await;
            results.push(result.expect("a result"));
        }
        results
    }

    pub(crate) async fn events(&self) -> EventFeed {
        self.broker
            .subscribe_events(None)
            .await
            .expect("events are heard")
    }

    pub(crate) fn workspace(&self) -> &Path {
        self.workspace.path()
    }
}

/// The next event of `kind`, of task `id` unless it is empty.
pub(crate) async fn next_event(feed: &mut EventFeed, kind: EventKind, id: &str) -> Event {
    let wanted = async {
        loop {
            let event = feed.next().await.expect("the feed goes on");
            if event.kind == kind && (id.is_empty() || event.task_id.as_deref() == Some(id)) {
                return event;
            }
        }
    };
    let found = tokio::time::timeout(BOUND * 2, wanted).await;
    found.unwrap_or_else(|_| panic!("no event {kind:?} of task {id:?}"))
}
