//! The floor's submitter: so many tasks in flight, their acknowledgements and results on one
//! subscription.

use std::time::{Duration, Instant};

use a3s_coordinator::bench::{Load, Timings, Until};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::headers;
use anyhow::{Context, Result, bail};
use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant as TokioInstant, MissedTickBehavior, interval, timeout_at};

use super::wire;
use crate::load::{Orders, Report};
use crate::usage::{between, sample};

/// How long the last answers may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);

/// What is in flight, by the number in ids and reply subjects.
#[derive(Debug, Clone, Copy)]
struct Slot {
    sent: Instant,
    sent_us: u64,
    number: u64,
    accepted: bool,
    answered: bool,
}

struct Submitter {
    client: Client,
    inbox: Subscriber,
    /// The session's part of subjects: of tasks, and of results without the id.
    sessions: Vec<(String, String, String)>,
    /// Where acknowledgements go. On the subject of results, so that one subscription has both.
    replies: Vec<String>,
    headers: HeaderMap,
    body: Bytes,
    run: u64,
    next: u64,
    slots: Vec<Slot>,
}

/// Does what it is told.
pub(crate) async fn submit(orders: &Orders) -> Result<Report> {
    let mut submitter = Submitter::start(orders).await?;
    let warm = submitter.drive(&orders.warm_up()).await?;
    let before = sample(&orders.watch)?;
    let timings = submitter.drive(&orders.measured()).await?;
    let after = sample(&orders.watch)?;
    Ok(Report {
        submitted: warm.tasks() + timings.tasks(),
        summary: timings.summary(),
        usage: between(&before, &after),
    })
}

impl Submitter {
    async fn start(orders: &Orders) -> Result<Self> {
        let (client, broker) = wire::connect(&orders.url).await?;
        broker.ensure(&Settings::default()).await?;
        let run = wire::now_us();
        let names = broker.names();
        let inbox = client.subscribe(names.done("*", "*")).await?;
        client.flush().await?;
        // As long as the sessions of the product's run are named.
        let session = |n: usize| format!("{run:032x}-{n}");
        let of = |session: String| {
            let subject = wire::task_subject(names, &session);
            let mut result = names.result(&session, "x");
            result.truncate(result.len() - 1);
            (session, subject, result)
        };
        let body = wire::task_body(&session(0), orders.body, orders.encoding);
        let reply = |slot: usize| names.done(&session(0), &format!("k{slot}"));
        Ok(Self {
            replies: (0..orders.in_flight).map(reply).collect(),
            sessions: (0..orders.sessions).map(|n| of(session(n))).collect(),
            headers: wire::task_headers(orders.encoding),
            body,
            run,
            next: 0,
            slots: Vec::new(),
            client,
            inbox,
        })
    }

    async fn drive(&mut self, load: &Load) -> Result<Timings> {
        let mut timings = Timings::default();
        let began = Instant::now();
        self.slots.clear();
        match load.every {
            Some(period) => self.paced(load, period, &mut timings).await?,
            None => self.saturate(load, began, &mut timings).await?,
        }
        timings.elapsed = began.elapsed();
        Ok(timings)
    }

    async fn saturate(&mut self, load: &Load, began: Instant, timings: &mut Timings) -> Result<()> {
        for slot in 0..load.in_flight {
            self.send(slot).await?;
        }
        let mut busy = load.in_flight;
        while busy > 0 {
            let first = self.message().await?;
            let mut now = Some(first);
            while let Some(message) = now.take() {
                if let Some(slot) = self.heard(&message, timings)? {
                    if over(load.until, began, self.next) {
                        busy -= 1;
                    } else {
                        self.send(slot).await?;
                    }
                }
                now = self.inbox.next().now_or_never().flatten();
            }
        }
        Ok(())
    }

    async fn paced(&mut self, load: &Load, period: Duration, timings: &mut Timings) -> Result<()> {
        let began = Instant::now();
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !over(load.until, began, self.next) {
            ticks.tick().await;
            self.slots.clear();
            self.send(0).await?;
            while self
                .slots
                .first()
                .is_some_and(|s| !s.accepted || !s.answered)
            {
                let message = self.message().await?;
                self.heard(&message, timings)?;
            }
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<Message> {
        let bound = TokioInstant::now() + ANSWERED_WITHIN;
        let next = timeout_at(bound, self.inbox.next()).await;
        let next = next.context("the floor's workers do not answer")?;
        next.context("the connection is closed")
    }

    async fn send(&mut self, slot: usize) -> Result<()> {
        let number = self.next;
        self.next += 1;
        let turn = usize::try_from(number).unwrap_or_default() % self.sessions.len();
        let (session, subject, result) = &self.sessions[turn];
        // As long as an id of the product, and it says which slot it is in.
        let id = format!(
            "{:012x}{number:012x}{slot:08x}",
            self.run & 0xffff_ffff_ffff
        );
        let mut headers = self.headers.clone();
        headers.insert(headers::MESSAGE_ID, format!("{session}.{id}").as_str());
        headers.insert(headers::REPLY_TO, format!("{result}{id}").as_str());
        let entry = Slot {
            sent: Instant::now(),
            sent_us: wire::now_us(),
            number,
            accepted: false,
            answered: false,
        };
        match self.slots.get_mut(slot) {
            Some(slot) => *slot = entry,
            None => self.slots.push(entry),
        }
        let (subject, reply) = (subject.clone(), self.replies[slot].clone());
        let body = self.body.clone();
        let sent = self
            .client
            .publish_with_reply_and_headers(subject, reply, headers, body);
        Ok(sent.await?)
    }

    /// Takes note of a message. The slot that it empties: its task is accepted and answered.
    fn heard(&mut self, message: &Message, timings: &mut Timings) -> Result<Option<usize>> {
        let (_, token) = message.subject.rsplit_once('.').unwrap_or_default();
        if let Some(slot) = token.strip_prefix('k') {
            wire::must_be_stored(&message.payload)?;
            let slot: usize = slot.parse()?;
            self.slots[slot].accepted = true;
            return Ok(self.slots[slot].answered.then_some(slot));
        }
        let (number, slot) = token
            .get(12..32)
            .context("an id that is not ours")?
            .split_at(12);
        let (number, slot) = (
            u64::from_str_radix(number, 16)?,
            usize::from_str_radix(slot, 16)?,
        );
        let entry = self.slots.get_mut(slot).context("no such slot")?;
        if entry.number != number || entry.answered {
            bail!("task {number} was answered twice");
        }
        entry.answered = true;
        timings.answered(entry.sent.elapsed());
        let started = message
            .payload
            .first_chunk()
            .map_or(0, |first| u64::from_le_bytes(*first));
        timings.started(Duration::from_micros(started.saturating_sub(entry.sent_us)));
        Ok(entry.accepted.then_some(slot))
    }
}

fn over(until: Until, began: Instant, submitted: u64) -> bool {
    match until {
        Until::Tasks(count) => submitted >= count,
        Until::Elapsed(time) => began.elapsed() >= time,
    }
}
