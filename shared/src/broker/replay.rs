//! Replaying dead letters, so that it may be interrupted anywhere and asked for again.
//!
//! A replay publishes the task and then removes the letter. Who is interrupted between the two
//! leaves both, and whoever asks again must see that the task is under way already. So the replay
//! of a letter always has the same message id: the task waits or runs under that id, or has a
//! result that is newer than the letter.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::lookup::StoredMessage;
use super::publish::Outgoing;
use super::{Broker, BrokerError, TaskStream};
use crate::protocol::{
    DEFAULT_TIMEOUT_MS, DeadLetter, ErrorKind, TaskBody, TaskHeaders, clock, headers,
};

/// What became of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replayed {
    /// The task was published again.
    Now,
    /// An earlier replay had published it and was interrupted before it removed the letter.
    Before,
}

/// Replays letters, and remembers what it has seen of the queues between them.
#[derive(Debug)]
pub struct Replays<'a> {
    broker: &'a Broker,
    /// By subject: the message ids that wait or run there, looked up once.
    queued: HashMap<String, HashSet<String>>,
}

impl<'a> Replays<'a> {
    /// For the letters of one call of a user.
    #[must_use]
    pub fn new(broker: &'a Broker) -> Self {
        Self {
            broker,
            queued: HashMap::new(),
        }
    }

    /// Publishes the task again, with a new attempt budget, deadline and message id, then removes
    /// the letter. Its failed result and its record are removed first, so that the replay can
    /// have its own. A crash at any point leaves the letter or the task, never neither, and the
    /// same call again continues.
    ///
    /// A process with a key signs it anew, and only what was signed before.
    ///
    /// # Errors
    /// `NotAllowed` when it may not be signed anew, and nothing was changed. When a step was not
    /// confirmed; `Conflict` when the same letter was replayed less than a
    /// minute ago and the task was given up again.
    pub async fn replay(&mut self, letter: &DeadLetter) -> Result<Replayed, BrokerError> {
        let broker = self.broker;
        let old = broker.stored_result(letter).await?;
        let signed = Box::pin(broker.signed_replay(letter)).await?;
        let done = match &old {
            Some(found) => broker.answers_a_replay(found, letter).await,
            None => false,
        };
        if done || self.waits(letter).await? {
            broker.forget(letter).await?;
            return Ok(Replayed::Before);
        }
        if let Some(found) = old {
            let results = broker.names().results();
            broker.remove(&results, found.sequence).await?;
        }
        broker.publish_replay(letter, signed).await?;
        broker.forget(letter).await?;
        Ok(Replayed::Now)
    }

    async fn waits(&mut self, letter: &DeadLetter) -> Result<bool, BrokerError> {
        let id = message_id(letter);
        if let Some(queued) = self.queued.get(&letter.subject) {
            return Ok(queued.contains(&id));
        }
        let queued = self.broker.queued_replays(&letter.subject).await?;
        let waits = queued.contains(&id);
        self.queued.insert(letter.subject.clone(), queued);
        Ok(waits)
    }
}

impl Broker {
    async fn stored_result(
        &self,
        letter: &DeadLetter,
    ) -> Result<Option<StoredMessage>, BrokerError> {
        let subject = self.names().result(&letter.session_id, &letter.task_id);
        self.last(&self.names().results(), &subject).await
    }

    /// Whether a result is that of a replay. One that ended in vain is none: whoever asks again
    /// wants another try. What cannot be read was not written for the letter either.
    async fn answers_a_replay(&self, found: &StoredMessage, letter: &DeadLetter) -> bool {
        if found.stored_at_ms <= letter.failed_at {
            return false;
        }
        let place = self.names().session_and_id(&found.subject);
        match self
            .read_answer(&found.headers, found.body.clone(), place)
            .await
        {
            // Not written by any worker or coordinator, where results are checked.
            Ok(answer) if answer.refused => false,
            Ok(answer) => matches!(answer.result.error_kind, None | Some(ErrorKind::Unknown)),
            Err(_) => true,
        }
    }

    /// The message ids of replays on a subject, waiting or running.
    async fn queued_replays(&self, subject: &str) -> Result<HashSet<String>, BrokerError> {
        let Some(address) = self.names().parse_task(subject) else {
            return Ok(HashSet::new());
        };
        let stream = self.names().tasks(TaskStream::of(&address.route));
        let found = self.scan(&stream, subject, 1).await?;
        let ids = found.iter().filter_map(|m| m.header(headers::MESSAGE_ID));
        Ok(ids
            .filter(|id| id.contains(".r"))
            .map(str::to_owned)
            .collect())
    }

    /// The replay's message, signed if this process has a key.
    async fn signed_replay(&self, letter: &DeadLetter) -> Result<Outgoing, BrokerError> {
        let what = format!("replay task {}", letter.task_id);
        let body = BASE64.decode(&letter.body);
        let body = body.map_err(|e| BrokerError::unreadable(&what, e))?;
        let reply_to = self.names().result(&letter.session_id, &letter.task_id);
        let mut headers = replay_headers(letter, &body, reply_to).into_pairs();
        if self.signatures().key.is_some() {
            self.sign_again(letter, &mut headers, &body).await?;
        }
        Ok(Outgoing {
            subject: letter.subject.clone(),
            headers,
            body: body.into(),
            ..Outgoing::default()
        })
    }

    async fn publish_replay(
        &self,
        letter: &DeadLetter,
        outgoing: Outgoing,
    ) -> Result<(), BrokerError> {
        let what = format!("replay task {}", letter.task_id);
        let (_, revision) = self.record(&letter.session_id, &letter.task_id).await?;
        if revision > 0 {
            self.remove(&self.names().claims(), revision).await?;
        }
        if self.publish(&outgoing).await?.duplicate {
            let what = format!("{what}: replayed less than a minute ago; try again later, it was");
            return Err(BrokerError::Conflict { what });
        }
        Ok(())
    }
}

/// The id of the replay of a letter. The next letter of the same task was written later.
fn message_id(letter: &DeadLetter) -> String {
    let DeadLetter {
        session_id,
        task_id,
        failed_at,
        ..
    } = letter;
    format!("{session_id}.{task_id}.r{failed_at}")
}

fn replay_headers(letter: &DeadLetter, body: &[u8], reply_to: String) -> TaskHeaders {
    let old = TaskHeaders::read(letter.header_pairs());
    let timeout = old
        .encoding(body)
        .decode::<TaskBody>(body)
        .ok()
        .and_then(|b| b.timeout_ms)
        .unwrap_or(DEFAULT_TIMEOUT_MS);
    TaskHeaders {
        message_id: Some(message_id(letter)),
        deadline_ms: Some(clock::now_ms().saturating_add(timeout)),
        // A task that had its id from its sequence keeps it.
        reply_to: old.reply_to.clone().or(Some(reply_to)),
        ..old
    }
}
