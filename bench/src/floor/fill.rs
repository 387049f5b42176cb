//! A backlog: tasks that the floor's worker and the product's can both run, published as fast as
//! the broker takes them.

use std::time::Duration;

use a3s_shared::broker::Settings;
use a3s_shared::protocol::{Encoding, headers};
use anyhow::{Context, Result};
use clap::Args;
use futures::StreamExt;
use tokio::time::timeout;

use super::wire;

/// How many publishes wait for the broker's word at a time.
const UNCONFIRMED: u64 = 1_000;

/// How long the broker's word may take.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(60);

/// A backlog.
#[derive(Debug, Args)]
pub(crate) struct Fill {
    /// The server.
    #[arg(long)]
    url: String,
    /// How many tasks.
    #[arg(long)]
    tasks: u64,
    /// Bytes of a task's body.
    #[arg(long, default_value_t = 256)]
    body: usize,
}

impl Fill {
    /// Publishes them, and returns when the broker has them all.
    pub(crate) async fn run(&self) -> Result<()> {
        let (client, broker) = wire::connect(&self.url).await?;
        broker.ensure(&Settings::default()).await?;
        let names = broker.names();
        let run = wire::now_us();
        let session = format!("{run:032x}-0");
        let subject = wire::task_subject(names, &session);
        let common = wire::task_headers(Encoding::MessagePack);
        let body = wire::task_body(&session, self.body, Encoding::MessagePack);
        let reply = client.new_inbox();
        let mut answers = client.subscribe(reply.clone()).await?;
        let mut confirmed = 0;
        for number in 0..self.tasks {
            let id = format!("{run:016x}{number:016x}");
            let mut told = common.clone();
            told.insert(headers::MESSAGE_ID, format!("{session}.{id}").as_str());
            told.insert(headers::REPLY_TO, names.result(&session, &id).as_str());
            let (subject, reply, body) = (subject.clone(), reply.clone(), body.clone());
            client
                .publish_with_reply_and_headers(subject, reply, told, body)
                .await?;
            if number - confirmed >= UNCONFIRMED {
                confirm(&mut answers).await?;
                confirmed += 1;
            }
        }
        for _ in confirmed..self.tasks {
            confirm(&mut answers).await?;
        }
        Ok(())
    }
}

async fn confirm(answers: &mut async_nats::Subscriber) -> Result<()> {
    let answer = timeout(CONFIRMED_WITHIN, answers.next()).await;
    let answer = answer.context("the broker does not answer")?;
    wire::must_be_stored(&answer.context("the connection is closed")?.payload)
}
