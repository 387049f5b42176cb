//! A real server, a coordinator on it, and a worker that a test plays itself, so that it decides
//! what is answered and when.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test program uses a part of it"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a3s_coordinator::{Coordinator, Session, SessionQueueConfig};
use a3s_shared::broker::{Broker, Settings, TaskStream, header_pairs};
use a3s_shared::protocol::{
    Event, EventKind, ExternalTaskResult, LaneHandlerConfig, Presence, Route, Serves, SessionLane,
    TaskBody, TaskHandlerMode, TaskHeaders, TaskResult, clock,
};
use a3s_shared::runtime::{Role, connect};
use a3s_testkit::Server;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// Far more than anything here takes on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A server and a coordinator on it.
pub struct Bench {
    pub server: Server,
    pub coordinator: Coordinator,
}

impl Bench {
    pub async fn start() -> Self {
        let server = Server::start().await;
        let coordinator = coordinator(server.url()).await;
        Self {
            server,
            coordinator,
        }
    }

    pub fn broker(&self) -> &Broker {
        self.coordinator.broker()
    }

    /// A session all of whose tasks go to workers.
    pub async fn external(&self, id: &str) -> Session {
        let config = SessionQueueConfig::default().with_external_lanes();
        self.coordinator
            .session(id)
            .config(config)
            .open()
            .await
            .expect("a session")
    }

    /// Plays a worker of pool `default`.
    pub async fn play<F, Fut>(&self, lanes: &[SessionLane], answer: F) -> Player
    where
        F: Fn(TaskBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ExternalTaskResult> + Send + 'static,
    {
        Player::start(
            self.broker(),
            Route::Pool("default".into()),
            "",
            lanes,
            answer,
        )
        .await
    }

    /// How many tasks are in the stream of the pools.
    pub async fn tasks_stored(&self) -> u64 {
        let name = self.broker().names().tasks(TaskStream::Pool);
        let stream = self
            .broker()
            .jetstream()
            .get_stream(name)
            .await
            .expect("the stream");
        stream.get_info().await.expect("its state").state.messages
    }
}

pub async fn coordinator(url: &str) -> Coordinator {
    let options = a3s_shared::runtime::ConnectOptions::to(url);
    let connection = connect(&options, &Role::coordinator("test"))
        .await
        .expect("the server");
    Coordinator::start(connection, Settings::default())
        .await
        .expect("a coordinator")
}

pub fn handler(mode: TaskHandlerMode, timeout_ms: u64) -> LaneHandlerConfig {
    LaneHandlerConfig { mode, timeout_ms }
}

/// A worker that runs any number of tasks at a time and answers as the test says.
pub struct Player {
    pub running: Arc<AtomicUsize>,
    pub most: Arc<AtomicUsize>,
    pub started: Arc<AtomicUsize>,
    _lanes: JoinSet<()>,
}

impl Player {
    pub async fn start<F, Fut>(
        broker: &Broker,
        route: Route,
        session: &str,
        lanes: &[SessionLane],
        answer: F,
    ) -> Self
    where
        F: Fn(TaskBody) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ExternalTaskResult> + Send + 'static,
    {
        let mut player = Self {
            running: Arc::default(),
            most: Arc::default(),
            started: Arc::default(),
            _lanes: JoinSet::new(),
        };
        let answer = Arc::new(answer);
        for lane in lanes {
            let names = broker.names();
            let (stream, consumer) = match &route {
                Route::Pool(pool) => (TaskStream::Pool, names.pool_consumer(pool, *lane)),
                Route::Own => (TaskStream::Own, names.own_consumer(session, *lane)),
            };
            let stream = broker
                .jetstream()
                .get_stream(names.tasks(stream))
                .await
                .expect("stream");
            let consumer: PullConsumer = stream.get_consumer(&consumer).await.expect("consumer");
            let (broker, answer) = (broker.clone(), Arc::clone(&answer));
            let counts = (
                player.running.clone(),
                player.most.clone(),
                player.started.clone(),
            );
            player._lanes.spawn(pull(broker, consumer, answer, counts));
        }
        player
    }
}

type Counts = (Arc<AtomicUsize>, Arc<AtomicUsize>, Arc<AtomicUsize>);

async fn pull<F, Fut>(broker: Broker, consumer: PullConsumer, answer: Arc<F>, counts: Counts)
where
    F: Fn(TaskBody) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ExternalTaskResult> + Send + 'static,
{
    let config = pull::StreamBuilder::new(&consumer).max_messages_per_batch(100);
    let mut messages = config.messages().await.expect("a pull");
    let mut running = JoinSet::new();
    while let Some(message) = messages.next().await {
        let Ok(message) = message else { continue };
        let (broker, answer, counts) = (broker.clone(), answer.clone(), counts.clone());
        running.spawn(async move {
            let (running, most, started) = counts;
            started.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            run(&broker, &message, answer.as_ref()).await;
            running.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn run<F, Fut>(broker: &Broker, message: &async_nats::jetstream::Message, answer: &F)
where
    F: Fn(TaskBody) -> Fut,
    Fut: Future<Output = ExternalTaskResult>,
{
    let headers = message.headers.clone().unwrap_or_default();
    let headers = TaskHeaders::read(header_pairs(&headers));
    let payload = match &headers.blob {
        Some(name) => broker.get_blob(name).await.expect("the body"),
        None => message.payload.clone(),
    };
    let encoding = headers.encoding(&payload);
    let body: TaskBody = encoding.decode(&payload).expect("a task of ours");
    let began = clock::now_ms();
    let said = answer(body.clone()).await;
    let result = TaskResult {
        task_id: body.task_id.expect("an id"),
        session_id: body.session_id.expect("a session"),
        lane: body.lane.expect("a lane"),
        command_type: body.command_type,
        success: said.success,
        result: said.result,
        error: said.error,
        error_kind: None,
        attempt: 1,
        worker_id: "player".into(),
        started_at_ms: began,
        duration_ms: clock::now_ms() - began,
    };
    broker
        .publish_result(&result, encoding)
        .await
        .expect("stored");
    message.ack_with(AckKind::Ack).await.expect("acknowledged");
}

/// A success whose result is `result`.
pub fn success(result: Value) -> ExternalTaskResult {
    ExternalTaskResult {
        success: true,
        result,
        ..ExternalTaskResult::default()
    }
}

/// Answers with the payload.
pub async fn echo(task: TaskBody) -> ExternalTaskResult {
    success(json!({ "echo": task.payload }))
}

/// A heartbeat of a worker that serves pool `default`.
pub fn presence(id: &str, slots: usize, lanes: &[SessionLane]) -> Presence {
    Presence {
        worker_id: id.to_owned(),
        host: "here".into(),
        pid: 1,
        version: "0".into(),
        runtime: "test".into(),
        serves: Serves::Pool("default".into()),
        lanes: lanes.to_vec(),
        tools: Vec::new(),
        tool_digest: None,
        slots,
        busy: 0,
        done: 0,
        workspace: "/".into(),
        labels: BTreeMap::new(),
        sandbox: None,
        started_at_ms: 0,
        last_pull_ms: 0,
        seen_at_ms: clock::now_ms(),
        draining: false,
        refused: 0,
    }
}

/// All events up to the first of `last`.
pub async fn events_until(events: &mut broadcast::Receiver<Event>, last: EventKind) -> Vec<Event> {
    let mut seen = Vec::new();
    let collect = async {
        loop {
            let event = events.recv().await.expect("an event");
            let kind = event.kind;
            seen.push(event);
            if kind == last {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(SOON, collect).await;
    assert!(in_time.is_ok(), "no {last:?} after {seen:#?}");
    seen
}
