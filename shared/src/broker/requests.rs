//! Requests to the broker over one subscription, told apart by a number in the reply subject.
//!
//! The client library's own requests go through a table in its connection task and carry a timer
//! each. Every task costs several requests at each end, so here the table is ours, and one clock
//! ends what nobody answered (`docs/performance.md` has what that is worth).

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Message, PublishErrorKind, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use foldhash::HashMap;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::{OnceCell, oneshot};
use tokio::task::unconstrained;
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
    asker: Asker,
}

/// What is called with an answer, in the task that reads them: it must not take long.
pub(super) type OnAnswer = Box<dyn FnOnce(Result<Message, Unanswered>) + Send>;

/// Who waits for an answer.
enum Asker {
    Future(oneshot::Sender<Result<Message, Unanswered>>),
    Function(OnAnswer),
}

impl Asker {
    /// Tells the answer. With no lock held: a function may ask something itself.
    fn tell(self, answer: Result<Message, Unanswered>) {
        match self {
            // Who asked may have stopped waiting.
            Self::Future(sender) => drop(sender.send(answer)),
            Self::Function(call) => call(answer),
        }
    }
}

impl fmt::Debug for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Future(_) => "a future",
            Self::Function(_) => "a function",
        })
    }
}

impl Waiting {
    /// Why no answer can arrive, as far as is known.
    fn deaf(&self) -> Option<&Denied> {
        let deaf = self.deaf.as_ref();
        let still = deaf.filter(|(since, _)| since.elapsed() < DEAF_FOR);
        still.map(|(_, denied)| denied)
    }

    /// Notes a question. Its number.
    fn enlist(&mut self, subject: Subject, asker: Asker) -> u64 {
        self.next += 1;
        let question = Question {
            asked: Instant::now(),
            subject,
            asker,
        };
        self.answers.insert(self.next, question);
        self.next
    }

    /// Takes out what waits for an answer that cannot come; and whether the denial is ours.
    fn deny(&mut self, denied: &Denied, inbox: &str) -> (Vec<Asker>, bool) {
        let all = denied.act == Act::Subscribe && denied.subject == inbox;
        if all {
            self.deaf = Some((Instant::now(), denied.clone()));
        } else if denied.act == Act::Subscribe {
            return (Vec::new(), false);
        }
        let ended: Vec<Question> = self
            .answers
            .extract_if(|_, question| all || question.subject.as_str() == denied.subject)
            .map(|(_, question)| question)
            .collect();
        let is_it = |subject: &Subject| subject.as_str() == denied.subject;
        let ours = !ended.is_empty() || self.forgotten.iter().any(is_it);
        let mut askers = Vec::with_capacity(ended.len());
        for question in ended {
            askers.push(question.asker);
            // Each of several that were asked at once is denied by itself.
            self.remember(question.subject);
        }
        (askers, ours)
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
    /// Where the answer to a question goes.
    fn reply(&self, number: u64) -> String {
        [&self.inbox, ".", &number.to_string()].concat()
    }

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
            let Some(waiting) = weak.upgrade() else {
                return false;
            };
            let (askers, ours) = waiting.lock().deny(denied, &answers);
            for asker in askers {
                asker.tell(Err(Unanswered::Denied(denied.clone())));
            }
            ours
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
            if let Some(denied) = waiting.deaf() {
                return Err(Unanswered::Denied(denied.clone()));
            }
            waiting.enlist(subject.clone(), Asker::Future(sender))
        };
        let _forget = Forget {
            waiting: &inner.waiting,
            number,
        };
        let reply = inner.reply(number);
        inner.send(subject, reply, headers, body).await?;
        answer.await.map_err(|_| unheard())?
    }

    /// Sends a request if the client takes it at once, and has `call` called with its answer, or
    /// after [`REQUEST_TIMEOUT`] with none. Gives `call` back where it was not sent.
    pub(super) fn post(
        &self,
        subject: Subject,
        headers: HeaderMap,
        body: Bytes,
        call: OnAnswer,
    ) -> Result<(), OnAnswer> {
        let inner = &*self.0;
        if !inner.listener.initialized() {
            return Err(call);
        }
        let number = {
            let mut waiting = inner.waiting.lock();
            if waiting.deaf().is_some() {
                return Err(call);
            }
            waiting.enlist(subject.clone(), Asker::Function(call))
        };
        let sent = inner.send(subject, inner.reply(number), headers, body);
        // Whether there is room is the only question, not whose turn it is.
        match unconstrained(sent).now_or_never() {
            Some(Ok(())) => Ok(()),
            _ => match inner.waiting.lock().answers.remove(&number) {
                Some(Question {
                    asker: Asker::Function(call),
                    ..
                }) => Err(call),
                // It was denied meanwhile, and told so.
                _ => Ok(()),
            },
        }
    }
}

fn unheard() -> Unanswered {
    Unanswered::Unknown(format!("nothing heard for {REQUEST_TIMEOUT:?}"))
}

/// An answer, unless it says that nobody heard the question.
fn responded(message: Message) -> Result<Message, Unanswered> {
    match message.status {
        Some(StatusCode::NO_RESPONDERS) => Err(Unanswered::NoResponders),
        _ => Ok(message),
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
        question.asker.tell(responded(message));
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
                give_up(&waiting, |question| question.asked.elapsed() >= REQUEST_TIMEOUT);
            }
        }
    }
    // The connection is closed for good: nobody is left waiting.
    give_up(&waiting, |_| true);
}

/// Ends the questions that are `over`.
fn give_up(waiting: &Mutex<Waiting>, over: impl Fn(&Question) -> bool) {
    let over: Vec<Question> = {
        let mut waiting = waiting.lock();
        let over = waiting.answers.extract_if(|_, question| over(question));
        over.map(|(_, question)| question).collect()
    };
    for question in over {
        question.asker.tell(Err(unheard()));
    }
}
