//! Creates what is missing and reports what differs, as far as we may look. Safe when many
//! processes start at once: creating what exists already in the same form is no error to the
//! broker.

use std::fmt;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{self, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{self, Config, ConsumerCreateStrictErrorKind};
use bytes::Bytes;
use futures::future::try_join_all;
use serde_json::Value;
use tokio::time::sleep;

use super::requests::Unanswered;
use super::topology::{self, SCHEMA, SCHEMA_KEY};
use super::{Broker, BrokerError, Seen, Settings, TaskStream, ends_in, mentions};
use crate::protocol::DEFAULT_POOL;

/// How long the link to a JetStream domain may take to come up, and how often that is tried.
const LINK_WITHIN: Duration = Duration::from_secs(10);
const LINK_EVERY: Duration = Duration::from_millis(250);

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

/// What is on the broker, compared with what this version would create.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Settings that differ.
    pub drift: Vec<Drift>,
    /// What is not there.
    pub missing: Vec<String>,
    /// What we may not look at.
    pub hidden: Vec<String>,
}

impl Broker {
    /// Creates the streams, buckets and the consumers of pool `default`, where they are missing.
    ///
    /// # Errors
    /// When the broker is unreachable, refuses (permissions, too little storage), or holds the
    /// layout of a newer version; and when nobody answers for the JetStream domain for ten seconds.
    pub async fn ensure(&self, settings: &Settings) -> Result<Vec<Drift>, BrokerError> {
        self.wait_for_domain().await?;
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

    /// Waits until somebody answers for the JetStream domain, if there is one: it is behind a leaf's
    /// link, which may be just coming up, as after a restart of the whole region.
    async fn wait_for_domain(&self) -> Result<(), BrokerError> {
        if !self.has_domain() {
            return Ok(());
        }
        let until = Instant::now() + LINK_WITHIN;
        let call = format!("STREAM.INFO.{}", self.names().tasks(TaskStream::Pool));
        loop {
            let subject = self.api_subject(&call);
            let answer = self.requests.ask(subject, HeaderMap::new(), Bytes::new());
            match answer.await {
                Err(Unanswered::NoResponders) if Instant::now() < until => {
                    sleep(LINK_EVERY).await;
                }
                Err(Unanswered::NoResponders) => {
                    return Err(BrokerError::refused(
                        "reach the JetStream domain",
                        "nobody answers for it: is the leaf link of this server up, and is --js-domain \
                         the hub's domain?",
                    ));
                }
                // Whatever else it is, who asks for something in particular says it better.
                _ => return Ok(()),
            }
        }
    }

    /// Compares what is there with what this version would create, and creates nothing.
    ///
    /// # Errors
    /// When the broker does not answer, or holds the layout of a newer version.
    pub async fn compare(&self, settings: &Settings) -> Result<Comparison, BrokerError> {
        let mut found = Comparison::default();
        for config in topology::streams(self.names(), settings) {
            match self.stream_info(&config.name).await? {
                Seen::There(info) => found.drift.extend(stream_drift(&info, &config)?),
                Seen::Missing => found.missing.push(config.name),
                Seen::Hidden(_) => found.hidden.push(config.name),
            }
        }
        let buckets = [
            self.names().kv_stream(&self.names().workers_bucket()),
            self.names().kv_stream(&self.names().sessions_bucket()),
            self.names().blobs_stream(),
        ];
        for stream in buckets {
            match self.stream_info(&stream).await? {
                Seen::There(_) => {}
                Seen::Missing => found.missing.push(stream),
                Seen::Hidden(_) => found.hidden.push(stream),
            }
        }
        let tasks = self.names().tasks(TaskStream::Pool);
        let pool = topology::pool_consumers(self.names(), DEFAULT_POOL, settings);
        let pool = pool.into_iter().map(|config| (&tasks, config));
        let advisories = self.names().advisories();
        let mover = (&advisories, topology::mover(self.names()));
        for (stream, config) in pool.chain([mover]) {
            let name = config.durable_name.clone().unwrap_or_default();
            let of = format!("{stream} consumer {name}");
            match self.consumer_info(stream, &name).await? {
                Seen::There(info) => {
                    let differ = differences(&of, &json(&info.config), &json(&config));
                    found.drift.extend(differ);
                }
                Seen::Missing => found.missing.push(of),
                Seen::Hidden(_) => found.hidden.push(of),
            }
        }
        Ok(found)
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
        let Seen::There(info) = self.consumer_info(&stream, &name).await? else {
            return Ok(());
        };
        let current = pull::Config {
            durable_name: Some(name.clone()),
            filter_subject: info.config.filter_subject,
            ack_policy: info.config.ack_policy,
            ack_wait: info.config.ack_wait,
            max_deliver: info.config.max_deliver,
            max_waiting: info.config.max_waiting,
            inactive_threshold: info.config.inactive_threshold,
            max_ack_pending: config.max_ack_pending,
            ..pull::Config::default()
        };
        let update = async {
            let updated = handle.update_consumer(current).await;
            updated
                .map(drop)
                .map_err(|e| BrokerError::refused(&what, e))
        };
        let of = format!("CONSUMER.CREATE.{stream}.{name}.");
        self.unless_denied(&what, mentions(of), update).await
    }

    /// Looks first: what is there needs no right to create it, and what we may not see is the
    /// business of somebody who may.
    async fn ensure_stream(&self, config: &Config) -> Result<Vec<Drift>, BrokerError> {
        match self.stream_info(&config.name).await? {
            Seen::There(info) => return stream_drift(&info, config),
            Seen::Hidden(_) => return Ok(Vec::new()),
            Seen::Missing => {}
        }
        let what = to_create(&format!("stream {}", config.name));
        let create = async { Ok(self.jetstream().create_stream(config).await) };
        match self
            .unless_denied(&what, creates(&config.name), create)
            .await?
        {
            Ok(_) => Ok(Vec::new()),
            // Somebody else made it meanwhile, another version perhaps.
            Err(error) if in_use(&error) => match self.stream_info(&config.name).await? {
                Seen::There(info) => stream_drift(&info, config),
                Seen::Missing | Seen::Hidden(_) => Ok(Vec::new()),
            },
            Err(error) => Err(stream_error(config, &error)),
        }
    }

    async fn ensure_buckets(&self, settings: &Settings) -> Result<(), BrokerError> {
        let buckets = [
            topology::workers_bucket(self.names(), settings),
            topology::sessions_bucket(self.names(), settings),
        ];
        for config in buckets {
            let stream = self.names().kv_stream(&config.bucket);
            let create = async {
                let created = self.jetstream().create_key_value(config).await;
                created.map(drop).map_err(|e| e.to_string())
            };
            self.ensure_bucket(&stream, create).await?;
        }
        let config = topology::blobs_bucket(self.names(), settings);
        let create = async {
            let created = self.jetstream().create_object_store(config).await;
            created.map(drop).map_err(|e| e.to_string())
        };
        self.ensure_bucket(&self.names().blobs_stream(), create)
            .await
    }

    /// A bucket that is there is good enough, whoever made it.
    async fn ensure_bucket(
        &self,
        stream: &str,
        create: impl Future<Output = Result<(), String>>,
    ) -> Result<(), BrokerError> {
        if !matches!(self.stream_info(stream).await?, Seen::Missing) {
            return Ok(());
        }
        let what = to_create(&format!("bucket {stream}"));
        let create = async { Ok(create.await) };
        match self.unless_denied(&what, creates(stream), create).await? {
            Ok(()) => Ok(()),
            Err(_) if matches!(self.stream_info(stream).await?, Seen::There(_)) => Ok(()),
            // Of buckets the library keeps the text alone.
            Err(error) if error.contains("storage resources") => {
                Err(BrokerError::refused(what, format!("{error}: {MORE_ROOM}")))
            }
            Err(error) => Err(BrokerError::refused(what, error)),
        }
    }

    async fn ensure_consumers(
        &self,
        stream: String,
        configs: Vec<pull::Config>,
    ) -> Result<Vec<Drift>, BrokerError> {
        let ensured = configs
            .iter()
            .map(|config| self.ensure_consumer(&stream, config));
        Ok(try_join_all(ensured).await?.into_iter().flatten().collect())
    }

    async fn ensure_consumer(
        &self,
        stream: &str,
        config: &pull::Config,
    ) -> Result<Vec<Drift>, BrokerError> {
        let name = config.durable_name.clone().unwrap_or_default();
        let drift = |info: &consumer::Info| {
            let of = format!("{stream} consumer {name}");
            differences(&of, &json(&info.config), &json(config))
        };
        match self.consumer_info(stream, &name).await? {
            Seen::There(info) => return Ok(drift(&info)),
            Seen::Hidden(_) => return Ok(Vec::new()),
            Seen::Missing => {}
        }
        let what = to_create(&format!("consumer {name}"));
        let handle = self.stream_handle(stream, &what).await?;
        let create = async { Ok(handle.create_consumer_strict(config.clone()).await) };
        let of = mentions(format!("CONSUMER.CREATE.{stream}.{name}"));
        match self.unless_denied(&what, of, create).await? {
            Ok(_) => Ok(Vec::new()),
            Err(error) if error.kind() == ConsumerCreateStrictErrorKind::AlreadyExists => {
                match self.consumer_info(stream, &name).await? {
                    Seen::There(info) => Ok(drift(&info)),
                    Seen::Missing | Seen::Hidden(_) => Ok(Vec::new()),
                }
            }
            Err(error) => Err(BrokerError::refused(what, error)),
        }
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

/// What a denial says that it kept us from.
fn to_create(what: &str) -> String {
    format!("create {what} (a coordinator for all sessions may, started once)")
}

fn stream_drift(info: &stream::Info, expected: &Config) -> Result<Vec<Drift>, BrokerError> {
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

fn creates(stream: &str) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    ends_in(format!("STREAM.CREATE.{stream}"))
}

fn in_use(error: &CreateStreamError) -> bool {
    let CreateStreamErrorKind::JetStream(ref refused) = error.kind() else {
        return false;
    };
    refused.error_code() == ErrorCode::STREAM_NAME_EXIST
}

/// The broker's words for "that does not fit".
const NO_ROOM: [ErrorCode; 3] = [
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
];

/// What to do then.
const MORE_ROOM: &str = "free disk space, raise max_file_store in the server's jetstream {} block, \
                         or set A3S_STREAM_MIB below 2048";

fn stream_error(config: &Config, error: &CreateStreamError) -> BrokerError {
    let what = format!("create stream {}", config.name);
    match error.kind() {
        CreateStreamErrorKind::JetStream(refused) if NO_ROOM.contains(&refused.error_code()) => {
            let mib = config.max_bytes / (1024 * 1024);
            BrokerError::refused(
                what,
                format!("{error}; it sets {mib} MiB aside: {MORE_ROOM}"),
            )
        }
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
        // The server writes a limit that nobody set as -1.
        let unset = (found.is_null() || found == &Value::from(-1)) && is_default(value);
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
