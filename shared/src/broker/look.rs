//! Looking at streams and consumers before they are made: whoever may not create can still work
//! with what is there.

use async_nats::HeaderMap;
use async_nats::jetstream::{consumer, stream};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::requests::Unanswered;
use super::{Broker, BrokerError};
use crate::runtime::Denied;

/// The broker's codes for a stream and for a consumer that do not exist.
const NOT_FOUND: [u64; 2] = [10059, 10014];

/// How often it is asked when nothing is heard: an answer is lost when a server on its way goes, or has
/// just come.
const TRIES: u32 = 2;

/// What there is to see.
#[derive(Debug)]
pub enum Seen<T> {
    /// It is there.
    There(T),
    /// It is not, or JetStream is away.
    Missing,
    /// We may not look.
    Hidden(Denied),
}

#[derive(Deserialize)]
struct Head {
    error: Option<Described>,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Broker {
    /// What the broker says of a stream.
    ///
    /// # Errors
    /// When it does not answer, twice for five seconds, or with nonsense.
    pub async fn stream_info(&self, stream: &str) -> Result<Seen<stream::Info>, BrokerError> {
        self.look(&format!("STREAM.INFO.{stream}")).await
    }

    /// What the broker says of a consumer.
    ///
    /// # Errors
    /// As [`Broker::stream_info`].
    pub async fn consumer_info(
        &self,
        stream: &str,
        consumer: &str,
    ) -> Result<Seen<consumer::Info>, BrokerError> {
        self.look(&format!("CONSUMER.INFO.{stream}.{consumer}"))
            .await
    }

    /// What the broker answers to a call of the JetStream API that only looks, such as `INFO` or
    /// `CONSUMER.LIST.A3S_TASKS`.
    ///
    /// # Errors
    /// As [`Broker::stream_info`].
    pub async fn look<T: DeserializeOwned>(&self, call: &str) -> Result<Seen<T>, BrokerError> {
        self.look_at(call, &self.api_subject(call)).await
    }

    /// As [`Broker::look`], at anything that answers in JSON, by its whole subject.
    ///
    /// # Errors
    /// As [`Broker::stream_info`].
    pub async fn look_at<T: DeserializeOwned>(
        &self,
        call: &str,
        subject: &str,
    ) -> Result<Seen<T>, BrokerError> {
        let mut tries = 0;
        let body = loop {
            tries += 1;
            let (headers, body) = (HeaderMap::new(), Bytes::new());
            match self.requests.ask(subject.to_owned(), headers, body).await {
                Ok(answer) => break answer.payload,
                Err(Unanswered::NoResponders) => return Ok(Seen::Missing),
                Err(Unanswered::Denied(denied)) => return Ok(Seen::Hidden(denied)),
                Err(Unanswered::Unknown(_)) if tries < TRIES => {}
                Err(error) => return Err(BrokerError::unanswered(call, error)),
            }
        };
        let unreadable = |error| BrokerError::unreadable(call, error);
        match serde_json::from_slice::<Head>(&body)
            .map_err(unreadable)?
            .error
        {
            Some(error) if NOT_FOUND.contains(&error.err_code) => Ok(Seen::Missing),
            Some(error) => Err(BrokerError::refused(call, error.description)),
            None => serde_json::from_slice(&body)
                .map(Seen::There)
                .map_err(unreadable),
        }
    }
}
