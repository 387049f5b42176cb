//! Where things are on the broker, and how they get there.
//!
//! * `names`: every subject, stream, consumer and bucket; nothing else spells one.
//! * `settings`, `topology`, `ensure`: what must exist, created or checked by whoever comes first.
//! * `requests`: questions and answers over one subscription; `publish`, `lookup`: confirmed writes
//!   and direct reads on them, the primitives of the rest.
//! * `tasks`, `results`, `records`, `cancels`, `dead_letters`, `blobs`, `events`, `sessions`,
//!   `limits`, `backlog`, `fleet`, `stored_task`: one noun of the protocol each.
//! * `interest`: which events anybody hears.

mod backlog;
mod blobs;
mod cancels;
mod dead_letters;
mod ensure;
mod error;
mod events;
mod fleet;
mod interest;
mod limits;
mod lookup;
mod names;
mod publish;
mod records;
mod requests;
mod results;
mod sessions;
mod settings;
mod stored_task;
mod tasks;
mod topology;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, HeaderMap};

pub use backlog::Backlog;
pub use blobs::BLOB_THRESHOLD;
pub use cancels::{CancelFeed, Cancelled};
pub use ensure::Drift;
pub use error::BrokerError;
pub use events::EventFeed;
pub use fleet::{Fleet, PRESENCE_TTL};
pub use limits::Bucket;
pub use lookup::StoredMessage;
pub use names::{Names, TaskAddress, TaskStream};
pub use publish::{Outgoing, PubAck, PublishError, Stored};
pub use results::ResultFeed;
pub use settings::Settings;
pub use stored_task::{StoredTask, Unread};
pub use tasks::{Accepted, PreparedTask, SubmitError, TaskOptions};

use bytes::Bytes;

use crate::protocol::InvalidToken;

/// How long one request to the broker may take before it counts as unanswered.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The broker as this system uses it. One connection; clones share it.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    jetstream: Context,
    api: Arc<str>,
    names: Arc<Names>,
    events: events::Outbox,
    requests: requests::Requests,
}

impl Broker {
    /// Uses `client`; in JetStream domain `js_domain` when the streams are behind a leaf node;
    /// with all names under `prefix` (usually `a3s`).
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// When `prefix` cannot be a part of a subject.
    pub fn new(
        client: Client,
        js_domain: Option<&str>,
        prefix: &str,
    ) -> Result<Self, InvalidToken> {
        let names = Names::new(prefix)?;
        let builder = jetstream::ContextBuilder::new().timeout(REQUEST_TIMEOUT);
        let (jetstream, api) = match js_domain {
            Some(domain) => (
                builder.domain(domain).build(client.clone()),
                format!("$JS.{domain}.API"),
            ),
            None => (builder.build(client.clone()), "$JS.API".to_owned()),
        };
        Ok(Self {
            events: events::Outbox::start(client.clone()),
            requests: requests::Requests::new(client.clone()),
            client,
            jetstream,
            api: api.into(),
            names: Arc::new(names),
        })
    }

    /// The connection.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// JetStream on this connection.
    #[must_use]
    pub fn jetstream(&self) -> &Context {
        &self.jetstream
    }

    /// The names of everything.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The subject of a JetStream API call, for example `CONSUMER.MSG.NEXT.A3S_TASKS.pool-x`.
    #[must_use]
    pub fn api_subject(&self, call: &str) -> String {
        format!("{}.{call}", self.api)
    }

    /// Tells the broker what became of a delivery: `payload` (`+ACK`, `-NAK`, `+WPI`) to the
    /// delivery's reply subject. `true` when the broker has confirmed that it heard.
    pub async fn acknowledge(&self, reply: &str, payload: Bytes) -> bool {
        let answer = self.requests.ask(reply, HeaderMap::new(), payload).await;
        answer.is_ok()
    }
}
