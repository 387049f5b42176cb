//! The loop that asks the broker for tasks and starts them. It decides nothing itself: `pulls`
//! says what to ask, `slots` what fits, `executor` does the work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use a3s_shared::broker::Broker;
use a3s_shared::protocol::{SessionLane, clock};
use async_nats::{Event, Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;

use crate::binding::Binding;
use crate::delivery::Delivery;
use crate::executor::Executor;
use crate::pulls::{Pull, Pulls, Status};
use crate::slots::Slots;
use crate::turn::Turn;

/// How long a surplus task waits here for a slot before somebody else gets it.
const HELD_AT_MOST: Duration = Duration::from_secs(1);

/// How long a draining worker waits for what the broker has sent already.
const DRAIN_AT_MOST: Duration = Duration::from_secs(2);

/// How long nothing may come before a draining worker stops to listen.
const QUIET: Duration = Duration::from_millis(100);

/// How many messages are read before the tasks among them start.
const READ_AT_ONCE: usize = 64;

/// The longest time the loop sleeps without looking around.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// The loop's state. `last_pull_ms` is written here and read by the heartbeat.
pub(crate) struct Puller {
    pub(crate) executor: Arc<Executor>,
    pub(crate) binding: Binding,
    pub(crate) slots: Slots,
    pub(crate) running: TaskTracker,
    pub(crate) last_pull_ms: Arc<AtomicU64>,
    pulls: Pulls,
    inbox: String,
    held: Vec<VecDeque<Box<Delivery>>>,
}

impl Puller {
    pub(crate) fn new(
        executor: Arc<Executor>,
        binding: Binding,
        slots: Slots,
        running: TaskTracker,
        last_pull_ms: Arc<AtomicU64>,
    ) -> Self {
        let lanes = binding.consumers.iter().map(|(lane, _)| *lane).collect();
        Self {
            pulls: Pulls::new(lanes, binding.manner),
            inbox: executor.broker.client().new_inbox(),
            held: SessionLane::ALL.iter().map(|_| VecDeque::new()).collect(),
            executor,
            binding,
            slots,
            running,
            last_pull_ms,
        }
    }

    /// Listens for what pulls bring, before the first one is sent.
    pub(crate) async fn listen(&self) -> Result<Subscriber, async_nats::SubscribeError> {
        self.client().subscribe(format!("{}.*.*", self.inbox)).await
    }

    /// Pulls and starts tasks until `stop` resolves, then gives back what is held.
    pub(crate) async fn run(
        mut self,
        mut inbox: Subscriber,
        mut events: broadcast::Receiver<Event>,
        stop: impl Future<Output = ()>,
    ) {
        tokio::pin!(stop);
        loop {
            let now = Instant::now();
            let hold_until = self.start_what_fits(now);
            self.ask(now).await;
            let wake = self.wake_at(hold_until, now);
            tokio::select! {
                biased;
                () = &mut stop => break,
                event = events.recv() => self.on_event(&event),
                message = inbox.next() => match message {
                    Some(message) => self.on_messages(message, &mut inbox),
                    None => break,
                },
                () = self.slots.returned() => {}
                () = tokio::time::sleep_until(wake.into()) => {}
            }
        }
        self.give_back(inbox).await;
    }

    fn client(&self) -> &async_nats::Client {
        self.executor.broker.client()
    }

    fn wake_at(&self, hold_until: Option<Instant>, now: Instant) -> Instant {
        let latest = now + LOOK_AROUND;
        [self.pulls.wake_at(), hold_until]
            .into_iter()
            .flatten()
            .fold(latest, Instant::min)
    }

    /// Starts held tasks, highest lane first, and gives back what waited too long. Returns when
    /// the next held task may start, if time alone can tell.
    fn start_what_fits(&mut self, now: Instant) -> Option<Instant> {
        let mut wait_until = None;
        for lane in SessionLane::ALL {
            while let Some(next) = self.held[lane.index()].front() {
                let may_start = self.pulls.may_start(lane, now);
                let free = self.slots.free(lane) > 0;
                if free && may_start.is_some_and(|at| at <= now) {
                    self.start(lane);
                } else if now.duration_since(next.received) > HELD_AT_MOST {
                    self.hand_back(lane);
                } else {
                    wait_until = may_start.filter(|_| free).or(wait_until);
                    break;
                }
            }
        }
        wait_until
    }

    fn start(&mut self, lane: SessionLane) {
        let Some(slot) = self.slots.take(lane) else {
            return;
        };
        let Some(delivery) = self.held[lane.index()].pop_front() else {
            return;
        };
        let executor = Arc::clone(&self.executor);
        // Boxed, because the runtime moves a future several times before and after it runs.
        let run = Box::pin(async move { executor.run(delivery, slot).await });
        self.running.spawn(run);
    }

    fn hand_back(&mut self, lane: SessionLane) {
        let Some(delivery) = self.held[lane.index()].pop_front() else {
            return;
        };
        let executor = Arc::clone(&self.executor);
        self.running
            .spawn(async move { executor.return_unstarted(&delivery).await });
    }

    async fn ask(&mut self, now: Instant) {
        let (slots, held) = (&self.slots, &self.held);
        // What is held already has a claim on the slots that are free.
        let free = |lane: SessionLane| {
            let waiting = held[lane.index()].len();
            slots.free(lane).saturating_sub(waiting)
        };
        for pull in self.pulls.plan(now, free) {
            if let Err(error) = self.send(pull).await {
                tracing::warn!(lane = pull.lane.id(), %error, "a pull could not be sent");
                self.pulls
                    .status(pull.lane, pull.id, Status::Refused, Instant::now());
            }
        }
    }

    async fn send(&self, pull: Pull) -> Result<(), async_nats::PublishError> {
        let Some((_, consumer)) = self.binding.consumers.iter().find(|(l, _)| *l == pull.lane)
        else {
            return Ok(());
        };
        let broker: &Broker = &self.executor.broker;
        let call = format!("CONSUMER.MSG.NEXT.{}.{consumer}", self.binding.stream);
        let reply = format!("{}.{}.{}", self.inbox, pull.lane.id(), pull.id);
        let body = Bytes::from(body(pull, self.binding.turn, broker.names().pool_group()));
        self.client()
            .publish_with_reply(broker.api_subject(&call), reply, body)
            .await
    }

    /// Reads a message, and those that have come with it.
    fn on_messages(&mut self, first: Message, inbox: &mut Subscriber) {
        self.last_pull_ms.store(clock::now_ms(), Ordering::Relaxed);
        let now = Instant::now();
        self.on_message(first, now);
        for _ in 1..READ_AT_ONCE {
            let Some(Some(message)) = inbox.next().now_or_never() else {
                return;
            };
            self.on_message(message, now);
        }
    }

    fn on_message(&mut self, message: Message, now: Instant) {
        if let Some(status) = message.status {
            self.on_status(&message, status, now);
            return;
        }
        match Delivery::read(&self.executor.broker, message, now) {
            Some(delivery) => {
                let lane = delivery.stored.address.lane;
                self.pulls.arrived(lane, now);
                self.held[lane.index()].push_back(delivery);
            }
            None => tracing::warn!("a message that is no task came to the inbox of pulls"),
        }
    }

    fn on_status(&mut self, message: &Message, status: StatusCode, now: Instant) {
        let mut tokens = message.subject.rsplit('.');
        let id = tokens.next().and_then(|id| id.parse().ok());
        let lane = tokens.next().and_then(|lane| lane.parse().ok());
        let (Some(id), Some(lane)) = (id, lane) else {
            return;
        };
        let status = match status.as_u16() {
            100 => Status::Heartbeat,
            404 | 408 => Status::Empty,
            code => {
                let reason = message.description.as_deref().unwrap_or_default();
                tracing::warn!(lane = %lane, code, reason, "the broker refused a pull");
                Status::Refused
            }
        };
        self.pulls.status(lane, id, status, now);
    }

    fn on_event(&mut self, event: &Result<Event, broadcast::error::RecvError>) {
        // A lagging receiver may have missed it.
        if matches!(
            event,
            Ok(Event::Connected) | Err(broadcast::error::RecvError::Lagged(_))
        ) {
            self.pulls.forget_all();
        }
    }

    /// Ends the pulls at the broker and gives back what they brought. The inbox is drained, not
    /// dropped: what the broker sent before it heard of the end has cost a delivery. And what it is
    /// about to send at the moment it hears of it is lost for a lease, so pulls that something
    /// waits for are filled first: that takes milliseconds.
    async fn give_back(mut self, mut inbox: Subscriber) {
        let rest = async {
            while self.pulls.any_wait()
                && let Ok(Some(message)) = tokio::time::timeout(QUIET, inbox.next()).await
            {
                self.on_message(message, Instant::now());
            }
            if inbox.drain().await.is_ok() {
                while let Some(message) = inbox.next().await {
                    self.on_message(message, Instant::now());
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN_AT_MOST, rest).await;
        for delivery in self.held.iter_mut().flat_map(std::mem::take) {
            let executor = Arc::clone(&self.executor);
            self.running
                .spawn(async move { executor.return_unstarted(&delivery).await });
        }
    }
}

/// What a pull says to the broker.
fn body(pull: Pull, turn: Option<Turn>, group: &str) -> String {
    let mut body = Map::from_iter([("batch".to_owned(), json!(pull.batch))]);
    match pull.wait {
        None => drop(body.insert("no_wait".to_owned(), json!(true))),
        Some(wait) => {
            let heartbeat = wait.heartbeat.unwrap_or_default();
            body.insert("expires".to_owned(), json!(wait.expires.as_nanos()));
            body.insert("idle_heartbeat".to_owned(), json!(heartbeat.as_nanos()));
        }
    }
    if let Some(turn) = turn {
        turn.tell(group, &mut body);
    }
    Value::Object(body).to_string()
}
