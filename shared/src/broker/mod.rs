//! Where things are on the broker, and how they get there.
//!
//! * `names`: every subject, stream, consumer and bucket; nothing else spells one.
//! * `settings`, `topology`, `ensure`: what must exist, created or checked by whoever comes first;
//!   `policy`: which of a pool's workers is served first.
//! * `look`: what is there, for those who may not create it.
//! * `requests`: questions and answers over one subscription; `publish`, `lookup`: confirmed writes
//!   and direct reads on them, the primitives of the rest.
//! * `tasks`, `results`, `records`, `cancels`, `dead_letters`, `blobs`, `events`, `sessions`,
//!   `limits`, `backlog`, `fleet`, `stored_task`, `delivered`, `workspaces`: one noun of the protocol
//!   each.
//! * `signatures`: signing what is published; `answers`: which results are believed.
//! * `interest`: which events anybody hears; `replay`: a dead letter becomes a task again.

mod answers;
mod backlog;
mod blobs;
mod cancels;
mod dead_letters;
mod delivered;
mod ensure;
mod error;
mod events;
mod fleet;
mod interest;
mod limits;
mod look;
mod lookup;
mod names;
mod policy;
mod publish;
mod records;
mod replay;
mod requests;
mod results;
mod sessions;
mod settings;
mod signatures;
mod stored_task;
mod tasks;
mod templates;
mod topology;
mod workspaces;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, Context, kv};
use async_nats::{Client, HeaderMap, Subject};

pub use answers::Answer;
pub use backlog::Backlog;
pub use blobs::BLOB_THRESHOLD;
pub use cancels::{CancelFeed, Cancelled};
pub use delivered::Delivered;
pub use ensure::{Comparison, Drift};
pub use error::BrokerError;
pub use events::EventFeed;
pub use fleet::{Fleet, PRESENCE_TTL};
pub use limits::Bucket;
pub use look::Seen;
pub use lookup::StoredMessage;
pub use names::{Names, TaskAddress, TaskStream};
pub use policy::PoolPolicy;
pub use publish::{Outgoing, PubAck, PublishError, Stored};
pub use replay::{Replayed, Replays};
pub use results::{PreparedResult, ResultFeed};
pub use sessions::RecordFeed;
pub use settings::Settings;
pub use signatures::Signatures;
pub use stored_task::{StoredTask, Unread, header_pairs};
pub use tasks::{Accepted, PreparedTask, SubmitError, TaskOptions};
pub use workspaces::{Inventory, StoredTree, TreeKind};

use bytes::Bytes;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::protocol::InvalidToken;
use crate::runtime::denials::{Act, Denials};

/// How long one request to the broker may take before it counts as unanswered.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What a delivery is answered with that is settled: the broker removes its task.
pub const ACK: Bytes = Bytes::from_static(b"+ACK");

/// Subjects with this in them, wherever.
fn mentions(part: String) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    move |subject| subject.contains(&part)
}

/// Subjects with this at their end: calls run side by side, and each minds its own denial.
fn ends_in(end: String) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    move |subject| subject.ends_with(&end)
}

/// The subject of JetStream's API where it is in no domain.
const API: &str = "$JS.API";

/// The broker as this system uses it. One connection; clones share it.
#[derive(Debug, Clone)]
pub struct Broker {
    client: Client,
    jetstream: Context,
    api: Arc<str>,
    names: Arc<Names>,
    events: events::Outbox,
    requests: requests::Requests,
    signatures: Signatures,
    refused: answers::Refused,
    templates: templates::Templates,
    /// The bucket of session records, once it was asked for.
    sessions: Arc<OnceCell<kv::Store>>,
    denials: Denials,
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
        Self::heeding(Denials::default(), client, js_domain, prefix)
    }

    /// As [`Broker::new`], on a connection whose `denials` are known
    /// ([`Connection::denials`](crate::runtime::Connection::denials)): what the broker does not
    /// permit fails at once, and says so, instead of waiting for an answer that never comes.
    ///
    /// # Errors
    /// As [`Broker::new`].
    pub fn heeding(
        denials: Denials,
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
            None => (builder.build(client.clone()), API.to_owned()),
        };
        Ok(Self {
            events: events::Outbox::start(client.clone()),
            requests: requests::Requests::new(client.clone(), &denials),
            denials,
            client,
            jetstream,
            api: api.into(),
            names: Arc::new(names),
            signatures: Signatures::default(),
            refused: answers::Refused::default(),
            templates: templates::Templates::default(),
            sessions: Arc::default(),
        })
    }

    /// Whether JetStream is in a domain of its own, behind a leaf's link.
    fn has_domain(&self) -> bool {
        &*self.api != API
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

    /// What `work` comes to, or the denial of what it asks the broker: a
    /// subject of which `ours` says so. For calls of the client library, which would wait for an answer in vain.
    async fn unless_denied<T>(
        &self,
        what: &str,
        ours: impl Fn(&str) -> bool + Send + Sync + 'static,
        work: impl Future<Output = Result<T, BrokerError>>,
    ) -> Result<T, BrokerError> {
        let mut awaited = self.denials.awaited(move |denied| match denied.act {
            Act::Publish => ours(&denied.subject),
            // The client library has one inbox for the answers to all its requests.
            Act::Subscribe => denied.subject.starts_with("_INBOX"),
        });
        tokio::select! {
            biased;
            denied = awaited.come() => {
                let what = what.to_owned();
                Err(BrokerError::Denied { what, denied })
            }
            outcome = work => {
                awaited.settle();
                outcome
            }
        }
    }

    /// Tells the broker what became of a delivery: `payload` (`+ACK`, `-NAK`, `+WPI`) to the
    /// delivery's reply subject. `true` when the broker has confirmed that it heard.
    pub async fn acknowledge(&self, reply: &Subject, payload: Bytes) -> bool {
        let reply = reply.clone();
        let answer = self.requests.ask(reply, HeaderMap::new(), payload).await;
        answer.is_ok()
    }

    /// Acknowledges deliveries of one consumer. `true` when the broker has confirmed that it heard
    /// all of them: it handles what one connection tells a consumer in that order, so its word on
    /// the last one holds for those before.
    pub async fn acknowledge_all(&self, replies: &[Subject]) -> bool {
        let Some((last, others)) = replies.split_last() else {
            return true;
        };
        let told = async {
            for reply in others {
                self.client.publish(reply.clone(), ACK).await?;
            }
            Ok::<_, async_nats::PublishError>(())
        };
        let told = timeout(REQUEST_TIMEOUT, told).await;
        matches!(told, Ok(Ok(()))) && self.acknowledge(last, ACK).await
    }
}
