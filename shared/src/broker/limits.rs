//! What is left of a session's rate limit, shared by all processes that submit for the session.
//! Written by compare-and-set, so that no token is given twice. What the numbers mean, and how a
//! bucket fills, is the business of who writes them.

use serde::{Deserialize, Serialize};

use super::publish::{Outgoing, PublishError};
use super::{Broker, BrokerError};
use crate::protocol::Encoding;

/// What is in a token bucket, and since when. A bucket that is not stored is full.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// Tokens at `at_ms`; fractions of one included.
    pub tokens: f64,
    /// The time of the last change, in the broker's time, milliseconds since 1970.
    pub at_ms: u64,
}

impl Broker {
    /// A session's bucket and its revision; `None` when nothing was ever taken from it, or not
    /// for a day.
    ///
    /// # Errors
    /// When the broker does not answer, or what is stored cannot be read.
    pub async fn bucket(&self, session: &str) -> Result<Option<(Bucket, u64)>, BrokerError> {
        let subject = self.names().rate(session);
        let Some(found) = self.last(&self.names().rates(), &subject).await? else {
            return Ok(None);
        };
        let bucket = Encoding::Json.decode(&found.body);
        let bucket = bucket.map_err(|e| BrokerError::unreadable(subject, e))?;
        Ok(Some((bucket, found.sequence)))
    }

    /// Writes a session's bucket over revision `revision` (0: there is none) and returns the new
    /// revision.
    ///
    /// # Errors
    /// `Conflict` when somebody wrote meanwhile. Any other error leaves open whether it was
    /// written: what was to be taken must then count as taken and not be used.
    pub async fn write_bucket(
        &self,
        session: &str,
        bucket: &Bucket,
        revision: u64,
    ) -> Result<u64, BrokerError> {
        let subject = self.names().rate(session);
        let outgoing = Outgoing {
            subject: subject.clone(),
            body: Encoding::Json.encode(bucket).into(),
            expected_last: Some(revision),
            ..Outgoing::default()
        };
        match self.publish(&outgoing).await {
            Ok(ack) => Ok(ack.sequence),
            Err(PublishError::Exists(_)) => Err(BrokerError::Conflict { what: subject }),
            Err(error) => Err(error.into()),
        }
    }
}
