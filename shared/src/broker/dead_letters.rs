//! Dead letters: what could not be done, kept whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::publish::{Outgoing, Stored};
use super::{Broker, BrokerError};
use crate::protocol::{DeadLetter, Encoding, TaskHeaders, Token, clock, headers};

/// How long a replayed task has when its own timeout cannot be read, in milliseconds.
const REPLAY_TIMEOUT_MS: u64 = crate::protocol::DEFAULT_TIMEOUT_MS;

impl Broker {
    /// Keeps a dead letter; the first one of a task stays.
    ///
    /// # Errors
    /// When it was not confirmed: it may be kept or not, and the same call again is harmless.
    pub async fn bury(&self, letter: &DeadLetter) -> Result<Stored, BrokerError> {
        let DeadLetter {
            session_id,
            lane,
            task_id,
            ..
        } = letter;
        let outgoing = Outgoing {
            subject: self.names().dead_letter(session_id, lane.id(), task_id),
            headers: vec![(
                headers::CONTENT_TYPE,
                Encoding::Json.content_type().to_owned(),
            )],
            body: Encoding::Json.encode(letter).into(),
            expected_last: None,
        };
        Ok(self.publish_first(&outgoing).await?)
    }

    /// The dead letters of a session, or of all with `None`, oldest first.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn dead_letters(
        &self,
        session: Option<&str>,
    ) -> Result<Vec<DeadLetter>, BrokerError> {
        let filter = self.names().dead_letter(session.unwrap_or("*"), "*", "*");
        let found = self.scan(&self.names().dead_letters(), &filter, 1).await?;
        let letters = found
            .iter()
            .filter_map(|m| Encoding::Json.decode(&m.body).ok());
        Ok(letters.collect())
    }

    /// Removes a dead letter; `false` when it was gone.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn forget(&self, letter: &DeadLetter) -> Result<bool, BrokerError> {
        let stream = self.names().dead_letters();
        let DeadLetter {
            session_id,
            lane,
            task_id,
            ..
        } = letter;
        let subject = self.names().dead_letter(session_id, lane.id(), task_id);
        match self.last(&stream, &subject).await? {
            Some(found) => self.remove(&stream, found.sequence).await,
            None => Ok(false),
        }
    }

    /// Publishes the task again, with a new attempt budget, deadline and message id, then removes
    /// the letter. Its failed result and its record are removed first, so that the replay can
    /// have its own. A crash at any point leaves the letter or the task, never neither.
    ///
    /// # Errors
    /// When a step was not confirmed; the same call again continues.
    pub async fn replay(&self, letter: &DeadLetter) -> Result<(), BrokerError> {
        let what = format!("replay task {}", letter.task_id);
        let body = BASE64.decode(&letter.body);
        let body = body.map_err(|e| BrokerError::unreadable(&what, e))?;
        self.forget_result(&letter.session_id, &letter.task_id)
            .await?;
        let (_, revision) = self.record(&letter.session_id, &letter.task_id).await?;
        if revision > 0 {
            self.remove(&self.names().claims(), revision).await?;
        }
        let outgoing = Outgoing {
            subject: letter.subject.clone(),
            headers: replay_headers(letter, &body).into_pairs(),
            body: body.into(),
            expected_last: None,
        };
        self.publish(&outgoing).await?;
        self.forget(letter).await?;
        Ok(())
    }
}

fn replay_headers(letter: &DeadLetter, body: &[u8]) -> TaskHeaders {
    let get = |name: &str| {
        let found = letter.headers.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    };
    let old = TaskHeaders::read(get);
    let timeout = old
        .encoding(body)
        .decode::<crate::protocol::TaskBody>(body)
        .ok()
        .and_then(|b| b.timeout_ms)
        .unwrap_or(REPLAY_TIMEOUT_MS);
    TaskHeaders {
        message_id: Some(format!(
            "{}.{}.r{}",
            letter.session_id,
            letter.task_id,
            Token::unique()
        )),
        deadline_ms: Some(clock::now_ms().saturating_add(timeout)),
        ..old
    }
}
