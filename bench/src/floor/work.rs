//! The floor's worker: pulls as much as it may run, publishes results, confirms acknowledgements.

use std::collections::HashMap;

use a3s_shared::broker::{ACK, Broker, Settings, TaskStream};
use a3s_shared::protocol::{DEFAULT_POOL, Encoding, headers};
use anyhow::{Context, Result, bail};
use async_nats::{Client, HeaderMap, Message, Subject};
use clap::Args;
use futures::{FutureExt, StreamExt};

use super::wire;

/// How long the broker keeps a pull: as the product's.
const EXPIRES_NS: u64 = 30_000_000_000;

/// Where the broker confirms acknowledgements, under the inbox.
const CONFIRMED: &str = ".k";

/// The floor's worker.
#[derive(Debug, Args)]
pub(crate) struct Work {
    /// The server.
    #[arg(long)]
    url: String,
    /// Tasks that are asked for and not yet here, at most.
    #[arg(long)]
    slots: usize,
}

struct Worker {
    client: Client,
    pull_subject: String,
    /// `<inbox>.p`, and the stem of the others.
    pull_reply: String,
    inbox: String,
    slots: usize,
    asked: usize,
    /// The ack subject of each task that is not settled, by the number in reply subjects.
    unsettled: Vec<Option<Subject>>,
    free: Vec<usize>,
    /// The ack subjects of the tasks whose results are stored since the last burst.
    ended: Vec<Subject>,
    headers: HashMap<&'static str, (HeaderMap, Vec<u8>)>,
}

impl Work {
    /// Works until it is killed.
    pub(crate) async fn run(&self) -> Result<()> {
        let (client, broker) = wire::connect(&self.url).await?;
        broker.ensure(&Settings::default()).await?;
        let mut worker = Worker::new(client, &broker, self.slots);
        let mut inbox = worker
            .client
            .subscribe(format!("{}.>", worker.inbox))
            .await?;
        worker.pull().await?;
        worker.client.flush().await?;
        eprintln!("ready for tasks");
        while let Some(first) = inbox.next().await {
            let mut now = Some(first);
            while let Some(message) = now.take() {
                worker.heard(message).await?;
                now = inbox.next().now_or_never().flatten();
            }
            worker.acknowledge().await?;
            worker.pull().await?;
        }
        bail!("the connection is closed")
    }
}

impl Worker {
    fn new(client: Client, broker: &Broker, slots: usize) -> Self {
        let stream = broker.names().tasks(TaskStream::Pool);
        let consumer = broker.names().pool_consumer(DEFAULT_POOL, wire::LANE);
        let inbox = client.new_inbox();
        let answer = |encoding: Encoding| {
            let (headers, body) = (wire::result_headers(encoding), wire::result_body(encoding));
            (encoding.content_type(), (headers, body))
        };
        Self {
            pull_subject: broker.api_subject(&format!("CONSUMER.MSG.NEXT.{stream}.{consumer}")),
            pull_reply: format!("{inbox}.p"),
            // As many again may be on their way to the broker while the next ones are run.
            unsettled: vec![None; 2 * slots],
            free: (0..2 * slots).collect(),
            ended: Vec::new(),
            headers: [Encoding::MessagePack, Encoding::Json]
                .into_iter()
                .map(answer)
                .collect(),
            asked: 0,
            inbox,
            slots,
            client,
        }
    }

    /// Asks for as many tasks as may be run, when that is worth a message.
    async fn pull(&mut self) -> Result<()> {
        let batch =
            (self.slots - self.asked).min(self.free.len() - self.asked.min(self.free.len()));
        if batch == 0 || batch < self.slots.div_ceil(2) {
            return Ok(());
        }
        let body = format!(r#"{{"batch":{batch},"expires":{EXPIRES_NS}}}"#);
        let (subject, reply) = (self.pull_subject.clone(), self.pull_reply.clone());
        self.client
            .publish_with_reply(subject, reply, body.into())
            .await?;
        self.asked += batch;
        Ok(())
    }

    /// Acknowledges what has ended. The broker's word on the last one holds for all.
    async fn acknowledge(&mut self) -> Result<()> {
        let last = self.ended.pop();
        for ack in self.ended.drain(..) {
            self.client.publish(ack, ACK).await?;
        }
        if let Some(ack) = last {
            let reply = [&self.inbox, CONFIRMED].concat();
            self.client.publish_with_reply(ack, reply, ACK).await?;
        }
        Ok(())
    }

    async fn heard(&mut self, message: Message) -> Result<()> {
        let Some(own) = message.subject.strip_prefix(self.inbox.as_str()) else {
            return self.deliver(message).await;
        };
        if let Some(slot) = own.strip_prefix(".r") {
            wire::must_be_stored(&message.payload)?;
            let slot: usize = slot.parse()?;
            let ack = self.unsettled[slot].take().context("a result of no task")?;
            self.ended.push(ack);
            self.free.push(slot);
            return Ok(());
        }
        if own == CONFIRMED {
            return Ok(());
        }
        self.pull_ended(&message)
    }

    async fn deliver(&mut self, message: Message) -> Result<()> {
        let started_us = wire::now_us();
        self.asked = self.asked.saturating_sub(1);
        let slot = self.free.pop().context("more tasks than were asked for")?;
        let told = message.headers.as_ref().context("a task without headers")?;
        let text = |name: &str| told.get(name).map(async_nats::HeaderValue::as_str);
        let subject = text(headers::REPLY_TO)
            .context("a task without a reply subject")?
            .to_owned();
        let kind = text(headers::CONTENT_TYPE).unwrap_or_default();
        let (headers, body) = self
            .headers
            .get(kind)
            .context("a task in no known encoding")?;
        let mut body = body.clone();
        body[..8].copy_from_slice(&started_us.to_le_bytes());
        let (headers, reply) = (headers.clone(), format!("{}.r{slot}", self.inbox));
        self.unsettled[slot] = message.reply;
        let stored =
            self.client
                .publish_with_reply_and_headers(subject, reply, headers, body.into());
        Ok(stored.await?)
    }

    /// A pull ended with less than it asked for.
    fn pull_ended(&mut self, message: &Message) -> Result<()> {
        let code = message.status.map_or(0, |status| status.as_u16());
        if ![404, 408].contains(&code) {
            bail!(
                "the broker refused a pull: {code} {:?}",
                message.description
            );
        }
        let headers = message.headers.as_ref();
        let pending = headers.and_then(|h| h.get("Nats-Pending-Messages"));
        let pending: usize = pending
            .and_then(|v| v.as_str().parse().ok())
            .unwrap_or(self.asked);
        self.asked = self.asked.saturating_sub(pending);
        Ok(())
    }
}
