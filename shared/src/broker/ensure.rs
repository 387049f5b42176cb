//! Creates what is missing and reports what differs. Safe when many processes start at once:
//! creating what exists already in the same form is no error to the broker.

use std::fmt;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{Config, ConsumerCreateStrictErrorKind};
use futures::future::try_join_all;
use serde_json::Value;

use super::topology::{self, SCHEMA, SCHEMA_KEY};
use super::{Broker, BrokerError, Settings, TaskStream};
use crate::protocol::DEFAULT_POOL;

/// Something on the broker that differs from what this version would create. Never changed by
/// us: an operator may have had a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The stream, or stream and consumer.
    pub of: String,
    /// The setting.
    pub field: String,
    /// What it is.
    pub found: String,
    /// What this version would set.
    pub expected: String,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            of,
            field,
            found,
            expected,
        } = self;
        write!(f, "{of}: {field} is {found}, expected {expected}")
    }
}

impl Broker {
    /// Creates the streams, buckets and the consumers of pool `default`, where they are missing.
    ///
    /// # Errors
    /// When the broker is unreachable, refuses (permissions, too little storage), or holds the
    /// layout of a newer version.
    pub async fn ensure(&self, settings: &Settings) -> Result<Vec<Drift>, BrokerError> {
        let streams = topology::streams(self.names(), settings);
        let streams = try_join_all(streams.iter().map(|config| self.ensure_stream(config)));
        let (drift, ()) = tokio::try_join!(streams, self.ensure_buckets(settings))?;
        let mut drift: Vec<Drift> = drift.into_iter().flatten().collect();
        drift.extend(self.ensure_pool(DEFAULT_POOL, settings).await?);
        let mover = vec![topology::mover(self.names())];
        drift.extend(
            self.ensure_consumers(self.names().advisories(), mover)
                .await?,
        );
        Ok(drift)
    }

    /// Creates the four consumers of a pool where they are missing.
    ///
    /// # Errors
    /// As [`Broker::ensure`].
    pub async fn ensure_pool(
        &self,
        pool: &str,
        settings: &Settings,
    ) -> Result<Vec<Drift>, BrokerError> {
        let configs = topology::pool_consumers(self.names(), pool, settings);
        self.ensure_consumers(self.names().tasks(TaskStream::Pool), configs)
            .await
    }

    /// Creates the four consumers of a session's own workers, with the lanes' concurrency
    /// (`caps`, highest priority first), or updates the concurrency of those that exist.
    ///
    /// # Errors
    /// As [`Broker::ensure`].
    pub async fn ensure_own(
        &self,
        session: &str,
        caps: [usize; 4],
        settings: &Settings,
    ) -> Result<Vec<Drift>, BrokerError> {
        let configs = topology::own_consumers(self.names(), session, caps, settings);
        let drift = self
            .ensure_consumers(self.names().tasks(TaskStream::Own), configs.clone())
            .await?;
        let stale = |config: &&pull::Config| {
            let name = config.durable_name.as_deref().unwrap_or_default();
            drift
                .iter()
                .any(|d| d.field == "max_ack_pending" && d.of.ends_with(name))
        };
        for config in configs.iter().filter(stale) {
            self.update_cap(config).await?;
        }
        Ok(drift
            .into_iter()
            .filter(|d| d.field != "max_ack_pending")
            .collect())
    }

    /// The concurrency of a lane is the one setting that belongs to the session, so it follows.
    async fn update_cap(&self, config: &pull::Config) -> Result<(), BrokerError> {
        let stream = self.names().tasks(TaskStream::Own);
        let name = config.durable_name.clone().unwrap_or_default();
        let what = format!("update consumer {name}");
        let handle = self.stream_handle(&stream, &what).await?;
        let info = handle
            .consumer_info(&name)
            .await
            .map_err(|e| BrokerError::refused(&what, e))?;
        let current = pull::Config {
            durable_name: Some(name),
            filter_subject: info.config.filter_subject,
            ack_policy: info.config.ack_policy,
            ack_wait: info.config.ack_wait,
            max_deliver: info.config.max_deliver,
            max_waiting: info.config.max_waiting,
            inactive_threshold: info.config.inactive_threshold,
            max_ack_pending: config.max_ack_pending,
            ..pull::Config::default()
        };
        let updated = handle.update_consumer(current).await;
        updated.map(drop).map_err(|e| BrokerError::refused(what, e))
    }

    async fn ensure_stream(&self, config: &Config) -> Result<Vec<Drift>, BrokerError> {
        match self.jetstream().create_stream(config).await {
            Ok(_) => Ok(Vec::new()),
            Err(error) if in_use(&error) => self.stream_drift(config).await,
            Err(error) => Err(stream_error(&config.name, &error)),
        }
    }

    async fn ensure_buckets(&self, settings: &Settings) -> Result<(), BrokerError> {
        let buckets = [
            topology::workers_bucket(self.names(), settings),
            topology::sessions_bucket(self.names(), settings),
        ];
        for config in buckets {
            let name = config.bucket.clone();
            match self.jetstream().create_key_value(config).await {
                Ok(_) => {}
                // Made by another version or by hand: good enough when it answers.
                Err(error) => {
                    if self.jetstream().get_key_value(&name).await.is_err() {
                        return Err(BrokerError::refused(format!("create bucket {name}"), error));
                    }
                }
            }
        }
        let config = topology::blobs_bucket(self.names(), settings);
        let name = config.bucket.clone();
        if let Err(error) = self.jetstream().create_object_store(config).await
            && self.jetstream().get_object_store(&name).await.is_err()
        {
            return Err(BrokerError::refused(format!("create bucket {name}"), error));
        }
        Ok(())
    }

    async fn stream_drift(&self, expected: &Config) -> Result<Vec<Drift>, BrokerError> {
        let what = format!("check stream {}", expected.name);
        let handle = self.stream_handle(&expected.name, &what).await?;
        let info = handle
            .get_info()
            .await
            .map_err(|e| BrokerError::unreachable(&what, e))?;
        let schema = info.config.metadata.get(SCHEMA_KEY);
        if let Some(found) = schema.filter(|s| s.parse::<u32>().is_ok_and(|n| n > 1)) {
            return Err(BrokerError::NewerSchema {
                stream: expected.name.clone(),
                found: found.clone(),
                known: SCHEMA,
            });
        }
        Ok(differences(
            &expected.name,
            &json(&info.config),
            &json(expected),
        ))
    }

    async fn ensure_consumers(
        &self,
        stream: String,
        configs: Vec<pull::Config>,
    ) -> Result<Vec<Drift>, BrokerError> {
        let handle = self.stream_handle(&stream, "create consumers").await?;
        let ensured = configs.into_iter().map(async |config| {
            let name = config.durable_name.clone().unwrap_or_default();
            match handle.create_consumer_strict(config.clone()).await {
                Ok(_) => Ok(Vec::new()),
                Err(error) if error.kind() == ConsumerCreateStrictErrorKind::AlreadyExists => {
                    let what = format!("check consumer {name}");
                    let info = handle.consumer_info(&name).await;
                    let info = info.map_err(|e| BrokerError::unreachable(what, e))?;
                    let of = format!("{stream} consumer {name}");
                    Ok(differences(&of, &json(&info.config), &json(&config)))
                }
                Err(error) => Err(BrokerError::refused(
                    format!("create consumer {name}"),
                    error,
                )),
            }
        });
        Ok(try_join_all(ensured).await?.into_iter().flatten().collect())
    }

    pub(super) async fn stream_handle(
        &self,
        name: &str,
        what: &str,
    ) -> Result<async_nats::jetstream::stream::Stream<()>, BrokerError> {
        let handle = self.jetstream().get_stream_no_info(name).await;
        handle.map_err(|e| BrokerError::unreachable(what, e))
    }
}

fn in_use(error: &CreateStreamError) -> bool {
    let CreateStreamErrorKind::JetStream(ref refused) = error.kind() else {
        return false;
    };
    refused.error_code() == ErrorCode::STREAM_NAME_EXIST
}

fn stream_error(name: &str, error: &CreateStreamError) -> BrokerError {
    let what = format!("create stream {name}");
    match error.kind() {
        CreateStreamErrorKind::JetStreamUnavailable => BrokerError::refused(
            what,
            "JetStream is not enabled; start nats-server with -js or with this project's nats.conf",
        ),
        CreateStreamErrorKind::TimedOut => BrokerError::unreachable(what, error),
        _ => BrokerError::refused(what, error),
    }
}

fn json<T: serde::Serialize>(config: &T) -> Value {
    serde_json::to_value(config).unwrap_or(Value::Null)
}

/// Compares what we set. What the server adds (its own metadata, defaults of fields that we leave
/// alone) is no drift.
fn differences(of: &str, found: &Value, expected: &Value) -> Vec<Drift> {
    let Some(fields) = expected.as_object() else {
        return Vec::new();
    };
    let set = fields.iter().filter(|(key, value)| {
        !value.is_null() && !matches!(key.as_str(), "metadata" | "name" | "durable_name")
    });
    set.filter_map(|(key, value)| {
        let found = found.get(key).unwrap_or(&Value::Null);
        let unset = found.is_null() && is_default(value);
        (found != value && !unset).then(|| Drift {
            of: of.to_owned(),
            field: key.clone(),
            found: found.to_string(),
            expected: value.to_string(),
        })
    })
    .collect()
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => value.is_null(),
    }
}
