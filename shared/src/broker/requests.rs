//! Requests to the broker over one subscription, told apart by a number in the reply subject.
//!
//! The client library's own requests go through a table in its connection task and carry a timer
//! each. Every task costs several requests at each end, so here the table is ours, and one clock
//! ends what nobody answered (`docs/performance.md` has what that is worth).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Message, PublishErrorKind, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use foldhash::HashMap;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::REQUEST_TIMEOUT;
use crate::runtime::denials::{Act, Denials, Denied, Listening};

/// How often unanswered requests are looked for: a request may wait so much longer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long it is taken for granted that the inbox is denied: permissions can be changed.
const DEAF_FOR: Duration = Duration::from_secs(30);

/// How many requests that nobody waits for any more are remembered.
const FORGOTTEN: usize = 32;

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// Nobody listens to the subject: no stream takes it, or JetStream is away.
    #[error("no responders")]
    NoResponders,
    /// It is larger than the server takes.
    #[error("larger than the server's max_payload")]
    TooLarge,
    /// The broker does not permit it: nobody heard it.
    #[error("not permitted to {0}")]
    Denied(Denied),
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
    _denials: Listening,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    answers: HashMap<u64, Question>,
    /// Where the last ones went that were denied, or whose asker stopped waiting: a denial that
    /// comes now is no news.
    forgotten: VecDeque<Subject>,
    /// That no answer can arrive, because the inbox is not ours, and since when.
    deaf: Option<(Instant, Denied)>,
}

/// A request on its way.
#[derive(Debug)]
struct Question {
    asked: Instant,
    subject: Subject,
    answer: oneshot::Sender<Result<Message, Denied>>,
}

impl Waiting {
    /// Ends what waits for an answer that cannot come. Whether anything did.
    fn deny(&mut self, denied: &Denied, inbox: &str) -> bool {
        let all = denied.act == Act::Subscribe && denied.subject == inbox;
        if all {
            self.deaf = Some((Instant::now(), denied.clone()));
        } else if denied.act == Act::Subscribe {
            return false;
        }
        let ended: Vec<Question> = self
            .answers
            .extract_if(|_, question| all || question.subject.as_str() == denied.subject)
            .map(|(_, question)| question)
            .collect();
        let is_it = |subject: &Subject| subject.as_str() == denied.subject;
        let ours = !ended.is_empty() || self.forgotten.iter().any(is_it);
        for question in ended {
            let _ = question.answer.send(Err(denied.clone()));
            // Each of several that were asked at once is denied by itself.
            self.remember(question.subject);
        }
        ours
    }

    fn forget(&mut self, number: u64) {
        if let Some(question) = self.answers.remove(&number) {
            self.remember(question.subject);
        }
    }

    fn remember(&mut self, subject: Subject) {
        if self.forgotten.len() >= FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(subject);
    }
}

impl Inner {
    /// Gives a request to the client.
    async fn send(
        &self,
        subject: Subject,
        reply: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(), Unanswered> {
        let client = &self.client;
        // Boxed: it is large, and nearly always gone at once, while the request waits for its answer.
        let mut publish: Pin<Box<dyn Future<Output = _> + Send>> = if headers.is_empty() {
            Box::pin(client.publish_with_reply(subject, reply, body))
        } else {
            Box::pin(client.publish_with_reply_and_headers(subject, reply, headers, body))
        };
        // The client nearly always takes it at once, and then it needs no timer.
        let sent = match publish.as_mut().now_or_never() {
            Some(sent) => sent,
            None => {
                let taken = Box::pin(timeout(REQUEST_TIMEOUT, publish));
                taken.await.map_err(|_| blocked())?
            }
        };
        sent.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded => Unanswered::TooLarge,
            _ => Unanswered::Unknown(error.to_string()),
        })
    }
}

impl Requests {
    pub(super) fn new(client: Client, denials: &Denials) -> Self {
        let inbox = client.new_inbox();
        let waiting = Arc::<Mutex<Waiting>>::default();
        let (weak, answers) = (Arc::downgrade(&waiting), format!("{inbox}.*"));
        let _denials = denials.listen(move |denied| {
            let waiting = weak.upgrade();
            waiting.is_some_and(|waiting| waiting.lock().deny(denied, &answers))
        });
        Self(Arc::new(Inner {
            client,
            inbox,
            listener: OnceCell::new(),
            waiting,
            _denials,
        }))
    }

    /// Sends a request and waits for its answer, up to [`REQUEST_TIMEOUT`]; and as long again at
    /// most, each, for the client to take the subscription and the request.
    pub(super) async fn ask(
        &self,
        subject: impl Into<Subject>,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Message, Unanswered> {
        let inner = &*self.0;
        if !inner.listener.initialized() {
            let listen = || listen(&inner.client, &inner.inbox, &inner.waiting);
            // Boxed, as what is rare: the future of every request has the room for it.
            let listening = Box::pin(inner.listener.get_or_try_init(listen));
            let listening = timeout(REQUEST_TIMEOUT, listening).await;
            listening.map_err(|_| blocked())??;
        }
        let subject = subject.into();
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut waiting = inner.waiting.lock();
            if let Some((since, denied)) = &waiting.deaf
                && since.elapsed() < DEAF_FOR
            {
                return Err(Unanswered::Denied(denied.clone()));
            }
            waiting.next += 1;
            let number = waiting.next;
            let question = Question {
                asked: Instant::now(),
                subject: subject.clone(),
                answer: sender,
            };
            waiting.answers.insert(number, question);
            number
        };
        let _forget = Forget {
            waiting: &inner.waiting,
            number,
        };
        let reply = [&inner.inbox, ".", &number.to_string()].concat();
        inner.send(subject, reply, headers, body).await?;
        let message = answer
            .await
            .map_err(|_| Unanswered::Unknown(format!("nothing heard for {REQUEST_TIMEOUT:?}")))?
            .map_err(Unanswered::Denied)?;
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
        self.waiting.lock().forget(self.number);
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

/// Gives an answer to who waits for it.
fn give(message: Message, prefix: usize, waiting: &Mutex<Waiting>) {
    let number = message.subject.get(prefix..).and_then(|n| n.parse().ok());
    let found = number.and_then(|n: u64| waiting.lock().answers.remove(&n));
    if let Some(question) = found {
        // Who asked may have stopped waiting.
        let _ = question.answer.send(Ok(message));
    }
}

/// Gives answers to who waits for them, and up on those who wait too long.
async fn deliver(mut subscriber: Subscriber, prefix: usize, waiting: Arc<Mutex<Waiting>>) {
    let mut clock = interval(LOOK_EVERY);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = subscriber.next() => {
                let Some(message) = message else { break };
                give(message, prefix, &waiting);
                // And those that have come with it.
                while let Some(Some(message)) = subscriber.next().now_or_never() {
                    give(message, prefix, &waiting);
                }
            }
            _ = clock.tick() => {
                let mut waiting = waiting.lock();
                waiting.answers.retain(|_, question| question.asked.elapsed() < REQUEST_TIMEOUT);
            }
        }
    }
    // The connection is closed for good: nobody is left waiting.
    waiting.lock().answers.clear();
}
