//! Events: told, never awaited, never kept by us.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, PublishError, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::interest::{Subjects, Way};
use super::{Broker, BrokerError};
use crate::protocol::{Encoding, Event, EventKind};

/// Events that wait to be told. What is beyond it is dropped: nothing depends on an event.
const WAITING: usize = 4_096;

/// What reply subjects of questions, and of those that nobody can hear, begin with.
const QUESTION: &str = "q";
const CONTROL: &str = "c";

/// Where events wait for the one task that tells them.
///
/// An event is built and told only where somebody listens. The broker says so itself: a message
/// with a reply subject that reaches nobody is answered with "no responders". So now and then an
/// event goes out as a question, followed by one that nobody can hear: answers come in order, so
/// when the second one is answered and the first is not, the first was heard. While the answer is
/// fresh, events that nobody would hear are dropped before they are built: three messages beside
/// the three that a task cannot do without.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Telling>,
    subjects: Arc<Mutex<Subjects>>,
    /// Ends with the last clone.
    _listener: Arc<AbortOnDropHandle<()>>,
}

/// An event on its way.
#[derive(Debug)]
struct Telling {
    subject: String,
    event: Event,
    /// Its number, if it is a question.
    question: Option<u64>,
}

impl Outbox {
    pub(super) fn start(client: Client) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        let inbox = client.new_inbox();
        let subjects = Arc::<Mutex<Subjects>>::default();
        tokio::spawn(tell(client.clone(), inbox.clone(), receiver));
        let listener = tokio::spawn(hear(client, inbox, Arc::clone(&subjects)));
        Self {
            sender,
            subjects,
            _listener: Arc::new(AbortOnDropHandle::new(listener)),
        }
    }

    fn way(&self, session: &str, kind: EventKind) -> Way {
        self.subjects.lock().way(session, kind, Instant::now())
    }
}

async fn tell(client: Client, inbox: String, mut receiver: mpsc::Receiver<Telling>) {
    while let Some(telling) = receiver.recv().await {
        let body = Encoding::Json.encode(&telling.event).into();
        let told = match telling.question {
            Some(number) => ask(&client, &inbox, number, telling.subject, body).await,
            None => client.publish(telling.subject, body).await,
        };
        if told.is_err() {
            return;
        }
    }
}

async fn ask(
    client: &Client,
    inbox: &str,
    number: u64,
    subject: String,
    body: Bytes,
) -> Result<(), PublishError> {
    let reply = format!("{inbox}.{QUESTION}{number}");
    client.publish_with_reply(subject, reply, body).await?;
    let nobody = format!("{inbox}.nobody.{number}");
    let reply = format!("{inbox}.{CONTROL}{number}");
    client.publish_with_reply(nobody, reply, Bytes::new()).await
}

/// Takes note of who listens.
async fn hear(client: Client, inbox: String, subjects: Arc<Mutex<Subjects>>) {
    let Ok(mut answers) = client.subscribe(format!("{inbox}.*")).await else {
        return;
    };
    while let Some(answer) = answers.next().await {
        let token = answer.subject.get(inbox.len() + 1..).unwrap_or_default();
        let question = token.strip_prefix(QUESTION);
        let number = question.or_else(|| token.strip_prefix(CONTROL));
        // A listener may reply to anything; only the broker's own word counts.
        if let Some(number) = number.and_then(|number| number.parse().ok())
            && answer.status == Some(StatusCode::NO_RESPONDERS)
        {
            let deaf = question.is_some();
            subjects.lock().answered(number, deaf, Instant::now());
        }
    }
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventFeed(Subscriber);

impl EventFeed {
    /// The next event; `None` when the connection is closed. What cannot be read is passed over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            let message = self.0.next().await?;
            if let Ok(event) = Encoding::Json.decode(&message.payload) {
                return Some(event);
            }
        }
    }
}

impl Broker {
    /// Tells an event of this kind, if anybody listens. Returns at once; an event that cannot be
    /// told now is dropped. `event` is called only when it is told.
    pub fn emit(&self, session: &str, kind: EventKind, event: impl FnOnce() -> Event) {
        let question = match self.events.way(session, kind) {
            Way::Drop => return,
            Way::Tell => None,
            Way::Ask(number) => Some(number),
        };
        let _ = self.events.sender.try_send(Telling {
            subject: self.names().event(session, kind.id()),
            event: event(),
            question,
        });
    }

    /// Listens to the events of a session, or of all with `None`.
    ///
    /// # Errors
    /// When the connection is closed or the broker does not answer.
    pub async fn subscribe_events(&self, session: Option<&str>) -> Result<EventFeed, BrokerError> {
        let subject = self.names().event(session.unwrap_or("*"), ">");
        let what = format!("listen to {subject}");
        let feed = self.client().subscribe(subject).await;
        let feed = feed.map_err(|e| BrokerError::unreachable(&what, e))?;
        self.client()
            .flush()
            .await
            .map_err(|e| BrokerError::unreachable(&what, e))?;
        Ok(EventFeed(feed))
    }
}
