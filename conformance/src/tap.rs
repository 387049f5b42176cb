//! Overhears everything that anybody says to the broker, and the broker to anybody, in order.

use std::sync::Arc;

use anyhow::Result;
use async_nats::{Client, Message};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::Value;

use crate::wait::until;

/// What was said since the tap was opened. What one connection said is in the order in which it
/// was said.
#[derive(Debug, Clone)]
pub struct Tap(Arc<Mutex<Vec<Message>>>);

impl Tap {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn open(client: &Client) -> Result<Self> {
        let mut all = client.subscribe(">").await?;
        client.flush().await?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let weak = Arc::downgrade(&said);
        tokio::spawn(async move {
            while let Some(message) = all.next().await {
                let Some(said) = weak.upgrade() else { return };
                said.lock().push(message);
            }
        });
        Ok(Self(said))
    }

    /// What of it `choose` takes.
    pub fn heard<T>(&self, choose: impl FnMut(&Message) -> Option<T>) -> Vec<T> {
        self.0.lock().iter().filter_map(choose).collect()
    }

    /// Waits for the first of it that `choose` takes.
    ///
    /// # Errors
    /// When none comes in time.
    pub async fn wait_for<T>(
        &self,
        what: &str,
        mut choose: impl FnMut(&Message) -> Option<T>,
    ) -> Result<T> {
        until(what, async || {
            let found = self.0.lock().iter().find_map(&mut choose);
            found.ok_or("it was not heard")
        })
        .await
    }

    /// The answers `answer` (`+ACK`, `+WPI`, `-NAK`) to deliveries of tasks, with where the broker
    /// was to confirm each.
    #[must_use]
    pub fn answers(&self, answer: &str) -> Vec<Option<String>> {
        self.heard(|m| {
            let about_tasks = m.subject.starts_with("$JS.ACK.") && m.subject.contains("A3S_TASKS");
            let said = m.payload.starts_with(answer.as_bytes());
            let reply = m.reply.as_ref().map(ToString::to_string);
            (about_tasks && said).then_some(reply)
        })
    }

    /// What the pulls from a stream asked for.
    #[must_use]
    pub fn pulls(&self, stream: &str) -> Vec<Value> {
        let call = format!("CONSUMER.MSG.NEXT.{stream}.");
        self.heard(|m| {
            let pull = m.subject.contains(&call);
            pull.then(|| serde_json::from_slice(&m.payload).unwrap_or_default())
        })
    }
}

/// The value of a header of a message, if it has it.
#[must_use]
pub fn header(message: &Message, name: &str) -> Option<String> {
    let headers = message.headers.as_ref()?;
    headers.get(name).map(|value| value.as_str().to_owned())
}
