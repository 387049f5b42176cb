//! Dead letters: what could not be done, kept whole.

use super::publish::{Outgoing, Stored};
use super::{Broker, BrokerError};
use crate::protocol::{DeadLetter, Encoding, headers};

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
            ..Outgoing::default()
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
        let found = self.held(&self.names().dead_letters(), &filter).await?;
        let letters = found
            .iter()
            .filter_map(|body| Encoding::Json.decode(body).ok());
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
}
