//! Events: told, never awaited, never kept by us.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, StatusCode, Subscriber};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::{Broker, BrokerError};
use crate::protocol::{Encoding, Event, EventKind};

/// Events that wait to be told. What is beyond it is dropped: nothing depends on an event.
const WAITING: usize = 4_096;

/// How long a subject that nobody listened to is left alone. A listener hears everything from so
/// long after it has begun.
const DEAF_FOR: Duration = Duration::from_millis(20);

/// How often a subject is asked again whether anybody still listens.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Subjects that are remembered; beyond it all are asked anew.
const REMEMBERED: usize = 4_096;

/// Where events wait for the one task that tells them.
///
/// An event is built and told only where somebody listens. The broker says so itself: a message
/// with a reply subject that reaches nobody is answered with "no responders". So now and then an
/// event goes out as a question, and while the answer is fresh the events of its subject are
/// dropped before they are built. At full load three events a task cost as much as the task.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    sender: mpsc::Sender<(String, Event, Option<u64>)>,
    subjects: Arc<Mutex<Subjects>>,
    /// Ends with the last clone.
    _listener: Arc<AbortOnDropHandle<()>>,
}

/// What is known of who listens.
#[derive(Debug, Default)]
struct Subjects {
    known: HashMap<String, Known>,
    asked: HashMap<u64, String>,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    asked: Instant,
    /// The question's number.
    number: u64,
    deaf: bool,
}

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    Drop,
    Tell,
    /// Tell it as the question of this number.
    Ask(u64),
}

impl Subjects {
    fn telling(&mut self, subject: &str, now: Instant) -> Telling {
        if let Some(known) = self.known.get(subject) {
            let age = now.saturating_duration_since(known.asked);
            if known.deaf && age < DEAF_FOR {
                return Telling::Drop;
            }
            if !known.deaf && age < ASK_EVERY {
                return Telling::Tell;
            }
            self.asked.remove(&known.number);
        }
        if self.known.len() >= REMEMBERED {
            *self = Self {
                next: self.next,
                ..Self::default()
            };
        }
        self.next += 1;
        let number = self.next;
        self.asked.insert(number, subject.to_owned());
        let known = Known {
            asked: now,
            number,
            // Until the broker says otherwise.
            deaf: false,
        };
        self.known.insert(subject.to_owned(), known);
        Telling::Ask(number)
    }

    /// Nobody heard the question of this number.
    fn unheard(&mut self, number: u64) {
        let subject = self.asked.remove(&number);
        if let Some(known) = subject.and_then(|subject| self.known.get_mut(&subject)) {
            known.deaf = true;
        }
    }
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

    fn tell(&self, subject: String, event: impl FnOnce() -> Event) {
        let telling = self.subjects.lock().telling(&subject, Instant::now());
        let question = match telling {
            Telling::Drop => return,
            Telling::Tell => None,
            Telling::Ask(number) => Some(number),
        };
        let _ = self.sender.try_send((subject, event(), question));
    }
}

async fn tell(
    client: Client,
    inbox: String,
    mut receiver: mpsc::Receiver<(String, Event, Option<u64>)>,
) {
    while let Some((subject, event, question)) = receiver.recv().await {
        let body = Encoding::Json.encode(&event).into();
        let told = match question {
            Some(number) => {
                let reply = format!("{inbox}.{number}");
                client.publish_with_reply(subject, reply, body).await
            }
            None => client.publish(subject, body).await,
        };
        if told.is_err() {
            return;
        }
    }
}

/// Takes note of what nobody heard.
async fn hear(client: Client, inbox: String, subjects: Arc<Mutex<Subjects>>) {
    let Ok(mut answers) = client.subscribe(format!("{inbox}.*")).await else {
        return;
    };
    while let Some(answer) = answers.next().await {
        let number = answer.subject.get(inbox.len() + 1..);
        let number = number.and_then(|number| number.parse().ok());
        if let Some(number) = number
            && answer.status == Some(StatusCode::NO_RESPONDERS)
        {
            subjects.lock().unheard(number);
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
        let subject = self.names().event(session, kind.id());
        self.events.tell(subject, event);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_nobody_hears_is_left_alone_and_asked_again() {
        let (mut subjects, start) = (Subjects::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(subjects.telling("a", at(0)), Telling::Ask(1));
        assert_eq!(
            subjects.telling("a", at(0)),
            Telling::Tell,
            "until the answer"
        );
        subjects.unheard(1);
        assert_eq!(subjects.telling("a", at(1)), Telling::Drop);
        assert_eq!(
            subjects.telling("b", at(1)),
            Telling::Ask(2),
            "each for itself"
        );
        assert_eq!(subjects.telling("a", at(20)), Telling::Ask(3));
    }

    #[test]
    fn a_subject_that_is_heard_is_told_everything() {
        let (mut subjects, start) = (Subjects::default(), Instant::now());
        assert_eq!(subjects.telling("a", start), Telling::Ask(1));
        assert_eq!(subjects.telling("a", start + ASK_EVERY / 2), Telling::Tell);
        assert_eq!(subjects.telling("a", start + ASK_EVERY), Telling::Ask(2));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut subjects, now) = (Subjects::default(), Instant::now());
        for n in 0..3 * REMEMBERED {
            subjects.telling(&n.to_string(), now);
        }
        assert!(subjects.known.len() <= REMEMBERED && subjects.asked.len() <= REMEMBERED);
    }
}
