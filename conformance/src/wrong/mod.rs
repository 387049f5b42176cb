//! A worker that is wrong on demand, so that the suite is known to be able to fail.
//!
//! It is a second, small worker, written against the wire and not against the worker library,
//! which can do nothing wrong. Without a fault it is right, as far as the cases go that its faults
//! are to fail. It polls, serves pool `default`, and hands nothing back.

mod fault;
mod run;
mod settle;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::{Broker, Settings};
use a3s_shared::protocol::{Presence, SessionLane, clock};
use a3s_shared::runtime::{Connection, Shutdown};
use a3s_worker::config::WorkerConfig;
use a3s_worker::registry::Registry;
use a3s_worker::workspace::Workspace;
use anyhow::{Context, Result};
use async_nats::Message;
use futures::StreamExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::tools;

pub use fault::Fault;

/// The wait before lanes that were all empty are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// The longest that the broker may take to say that a lane is empty.
const ASKED_AT_MOST: Duration = Duration::from_secs(10);

/// The time between two heartbeats.
const BEAT: Duration = Duration::from_secs(5);

type Key = (String, String);

/// The worker.
pub struct Wrong {
    broker: Broker,
    fault: Option<Fault>,
    config: WorkerConfig,
    registry: Registry,
    workspace: Arc<Workspace>,
    ack_wait: Duration,
    slots: Arc<Semaphore>,
    /// Tasks that somebody wants to end, by session and id.
    cancelled: watch::Sender<HashSet<Key>>,
}

impl Wrong {
    /// Makes it ready.
    ///
    /// # Errors
    /// When the broker refuses something that it needs.
    pub async fn start(
        connection: &Connection,
        config: WorkerConfig,
        fault: Option<Fault>,
    ) -> Result<Arc<Self>> {
        let broker = Broker::new(connection.client.clone(), None, "a3s")?;
        broker.ensure(&Settings::default()).await?;
        let stream = broker.jetstream().get_stream("A3S_TASKS").await?;
        let consumer = stream.consumer_info("pool-default-query").await?;
        Ok(Arc::new(Self {
            broker,
            fault,
            registry: tools::registry(),
            workspace: Arc::new(Workspace::open(&config.workspace)?),
            ack_wait: consumer.config.ack_wait,
            slots: Arc::new(Semaphore::new(config.concurrency)),
            cancelled: watch::Sender::new(HashSet::new()),
            config,
        }))
    }

    /// Serves until `shutdown` asks to drain, and finishes what runs.
    ///
    /// # Errors
    /// When the broker refuses a pull.
    pub async fn serve(self: Arc<Self>, shutdown: Shutdown) -> Result<()> {
        let heart = tokio::spawn(Arc::clone(&self).beat());
        let ear = tokio::spawn(Arc::clone(&self).listen());
        tokio::select! {
            outcome = self.pull() => outcome?,
            () = shutdown.draining() => {}
        }
        if !self.has(Fault::DropsOnTerm) {
            let all = u32::try_from(self.config.concurrency)?;
            let _all = self.slots.acquire_many(all).await?;
        }
        ear.abort();
        heart.abort();
        self.broker.depart(&self.config.worker_id).await?;
        Ok(())
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    async fn pull(self: &Arc<Self>) -> Result<()> {
        loop {
            // A greedy worker has no need of a slot before it takes a task.
            let slot = match self.has(Fault::Greedy) {
                true => None,
                false => Some(Arc::clone(&self.slots).acquire_owned().await?),
            };
            match self.next().await? {
                Some(message) => {
                    let this = Arc::clone(self);
                    tokio::spawn(async move { this.handle(message, slot).await });
                }
                None => sleep(ASK_AGAIN).await,
            }
        }
    }

    /// The next task of the highest lane that has one.
    async fn next(&self) -> Result<Option<Message>> {
        for lane in SessionLane::ALL {
            let call = format!("CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-{}", lane.id());
            let answer = self.ask(self.broker.api_subject(&call)).await?;
            if answer.status.is_none() {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Pulls. A task comes under its own subject, so the client's requests cannot be used.
    async fn ask(&self, pull: String) -> Result<Message> {
        let client = self.broker.client();
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(inbox.clone()).await?;
        let body = r#"{"batch": 1, "no_wait": true}"#;
        client.publish_with_reply(pull, inbox, body.into()).await?;
        let answer = timeout(ASKED_AT_MOST, answers.next()).await;
        let answer = answer.context("a pull was not answered in time")?;
        answer.context("the connection is closed")
    }

    async fn listen(self: Arc<Self>) {
        let mut feed = self.broker.watch_cancels(None);
        loop {
            let cancelled = feed.next().await;
            let key = (cancelled.session, cancelled.task_id);
            self.cancelled.send_modify(|all| {
                all.insert(key);
            });
        }
    }

    async fn beat(self: Arc<Self>) {
        loop {
            if let Err(error) = self.broker.announce(&self.presence()).await {
                eprintln!("no heartbeat: {error}");
            }
            sleep(BEAT).await;
        }
    }

    fn presence(&self) -> Presence {
        Presence {
            worker_id: self.config.worker_id.clone(),
            host: "here".to_owned(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            runtime: "rust".to_owned(),
            serves: self.config.serves.clone(),
            lanes: self.config.lanes.clone(),
            tools: self.registry.names(),
            tool_digest: None,
            slots: self.config.concurrency,
            busy: 0,
            done: 0,
            workspace: String::new(),
            labels: self.config.labels.clone(),
            sandbox: None,
            started_at_ms: clock::now_ms(),
            last_pull_ms: 0,
            seen_at_ms: clock::now_ms(),
            draining: false,
            refused: 0,
        }
    }
}
