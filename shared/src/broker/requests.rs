//! Requests to the broker over one subscription, told apart by a number in the reply subject.
//!
//! The client library's own requests go through a table in its connection task and carry a timer
//! each. Every task costs several requests at each end, so here the table is ours, and one clock
//! ends what nobody answered (`docs/performance.md` has what that is worth).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Message, PublishErrorKind, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{OnceCell, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::REQUEST_TIMEOUT;

/// How often unanswered requests are looked for: a request may wait so much longer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody listens to the subject: no stream takes it, or JetStream is away.
    #[error("no responders")]
    NoResponders,
    /// It is larger than the server takes.
    #[error("larger than the server's max_payload")]
    TooLarge,
    /// It may have been heard or not.
    #[error("{0}")]
    Unknown(String),
}

/// The requests of one connection. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Requests(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    inbox: String,
    listener: OnceCell<AbortOnDropHandle<()>>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, (Instant, oneshot::Sender<Message>)>,
}

impl Requests {
    pub(super) fn new(client: Client) -> Self {
        let inbox = client.new_inbox();
        Self(Arc::new(Inner {
            client,
            inbox,
            listener: OnceCell::new(),
            waiting: Arc::default(),
        }))
    }

    /// Sends a request and waits for its answer, up to [`REQUEST_TIMEOUT`]; and as long again at
    /// most, each, for the client to take the subscription and the request.
    pub(super) async fn ask(
        &self,
        subject: impl Into<String>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Message, Unanswered> {
        let inner = &*self.0;
        if !inner.listener.initialized() {
            let listen = || listen(&inner.client, &inner.inbox, &inner.waiting);
            let listening = timeout(REQUEST_TIMEOUT, inner.listener.get_or_try_init(listen)).await;
            listening.map_err(|_| blocked())??;
        }
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut waiting = inner.waiting.lock();
            waiting.next += 1;
            let number = waiting.next;
            waiting.answers.insert(number, (Instant::now(), sender));
            number
        };
        let _forget = Forget {
            waiting: &inner.waiting,
            number,
        };
        let reply = format!("{}.{number}", inner.inbox);
        let (client, subject) = (&inner.client, subject.into());
        let send = async {
            if headers.is_empty() {
                client.publish_with_reply(subject, reply, body).await
            } else {
                let publish = client.publish_with_reply_and_headers(subject, reply, headers, body);
                publish.await
            }
        };
        let sent = timeout(REQUEST_TIMEOUT, send).await;
        sent.map_err(|_| blocked())?
            .map_err(|error| match error.kind() {
                PublishErrorKind::MaxPayloadExceeded => Unanswered::TooLarge,
                _ => Unanswered::Unknown(error.to_string()),
            })?;
        let message = answer
            .await
            .map_err(|_| Unanswered::Unknown(format!("nothing heard for {REQUEST_TIMEOUT:?}")))?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Unanswered::NoResponders);
        }
        Ok(message)
    }
}

/// Without a connection the client keeps what is sent, until it can keep no more.
fn blocked() -> Unanswered {
    Unanswered::Unknown(format!(
        "the connection has taken nothing for {REQUEST_TIMEOUT:?}"
    ))
}

/// Takes a request out of the table, whatever becomes of its caller.
struct Forget<'a> {
    waiting: &'a Mutex<Waiting>,
    number: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiting.lock().answers.remove(&self.number);
    }
}

async fn listen(
    client: &Client,
    inbox: &str,
    waiting: &Arc<Mutex<Waiting>>,
) -> Result<AbortOnDropHandle<()>, Unanswered> {
    let subscriber = client.subscribe(format!("{inbox}.*")).await;
    let subscriber = subscriber.map_err(|error| Unanswered::Unknown(error.to_string()))?;
    let task = tokio::spawn(deliver(subscriber, inbox.len() + 1, Arc::clone(waiting)));
    Ok(AbortOnDropHandle::new(task))
}

/// Gives answers to who waits for them, and up on those who wait too long.
async fn deliver(mut subscriber: Subscriber, prefix: usize, waiting: Arc<Mutex<Waiting>>) {
    let mut clock = interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = subscriber.next() => {
                let Some(message) = message else { break };
                let number = message.subject.get(prefix..).and_then(|n| n.parse().ok());
                let found = number.and_then(|n: u64| waiting.lock().answers.remove(&n));
                if let Some((_, sender)) = found {
                    // Who asked may have stopped waiting.
                    let _ = sender.send(message);
                }
            }
            _ = clock.tick() => {
                let mut waiting = waiting.lock();
                waiting.answers.retain(|_, (since, _)| since.elapsed() < REQUEST_TIMEOUT);
            }
        }
    }
    // The connection is closed for good: nobody is left waiting.
    waiting.lock().answers.clear();
}
