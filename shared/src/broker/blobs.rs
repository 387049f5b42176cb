//! Bodies that are too large for a message, in the object store, named by their digest.

use std::collections::HashMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::io::ErrorKind;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::object_store::{GetErrorKind, ObjectInfo, ObjectStore};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;

use super::publish::Outgoing;
use super::{Broker, BrokerError, mentions};
use crate::protocol::{Encoding, Token};

/// Bodies above this many bytes go to the object store.
pub const BLOB_THRESHOLD: usize = 256 * 1024;

/// The largest body, in bytes.
const MAX_BLOB: usize = 256 * 1024 * 1024;

/// How much of a body a message has, in bytes: as other clients of the object store write it.
const CHUNK: usize = 128 * 1024;

/// Elsewhere, because it takes long: the thread that talks to the broker also renews leases.
async fn digest(body: Bytes) -> Vec<u8> {
    let compute = move || Sha256::digest(&body).to_vec();
    // It does not panic. An empty digest is nobody's, so the body would count as damaged.
    spawn_blocking(compute).await.unwrap_or_default()
}

fn hex(digest: &[u8]) -> String {
    let mut text = String::with_capacity(2 * digest.len());
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The header that has a message take the place of all before it on its subject.
fn rolled_up() -> Vec<(&'static str, String)> {
    vec![("Nats-Rollup", "sub".to_owned())]
}

impl Broker {
    /// Stores a body for a task or result and returns its name, which begins with its digest.
    /// `owner` keeps equal bodies of different tasks apart, so that each goes with its own.
    ///
    /// # Errors
    /// `Refused` when it is larger than 256 MiB, or the object store refuses it; `Unreachable` or
    /// `Missing` when the broker did not answer: another time it may.
    pub async fn put_blob(
        &self,
        body: impl Into<Bytes>,
        owner: &str,
    ) -> Result<String, BrokerError> {
        let body = body.into();
        let what = format!("store a body of {} bytes", body.len());
        if body.len() > MAX_BLOB {
            return Err(BrokerError::refused(
                what,
                format!("the limit is {MAX_BLOB} bytes"),
            ));
        }
        let digest = digest(body.clone()).await;
        let name = format!("sha256-{}.{owner}", hex(&digest));
        let old = self.blob_info(&name).await?;
        let info = ObjectInfo {
            name: name.clone(),
            bucket: self.names().blobs_bucket(),
            nuid: Token::unique().into(),
            size: body.len(),
            chunks: body.len().div_ceil(CHUNK),
            digest: Some(format!("SHA-256={}", URL_SAFE.encode(&digest))),
            modified: Some(time::OffsetDateTime::now_utc()),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: None,
            deleted: false,
        };
        for start in (0..body.len()).step_by(CHUNK) {
            let chunk = Outgoing {
                subject: self.names().blob_chunks(&info.nuid),
                body: body.slice(start..body.len().min(start + CHUNK)),
                ..Outgoing::default()
            };
            self.publish(&chunk).await?;
        }
        self.write_info(&info).await?;
        if let Some(old) = old {
            self.roll_up(&old.nuid).await?;
        }
        Ok(name)
    }

    /// Reads a body back and checks it against its digest.
    ///
    /// # Errors
    /// `Unreadable` when it is gone, larger than 256 MiB, or not what its name says; anything else
    /// when the broker did not give it: another time it may.
    pub async fn get_blob(&self, name: &str) -> Result<Bytes, BrokerError> {
        let what = format!("read body {name}");
        let bucket = self.blobs(&what).await?;
        let get = async {
            bucket.get(name).await.map_err(|error| match error.kind() {
                GetErrorKind::NotFound | GetErrorKind::InvalidName => {
                    BrokerError::unreadable(&what, error)
                }
                _ => BrokerError::unreachable(&what, error),
            })
        };
        let of = self.names().blob_info(&URL_SAFE.encode(name));
        let object = self.unless_denied(&what, mentions(of), get).await?;
        let size = object.info().size;
        if size > MAX_BLOB {
            return Err(BrokerError::unreadable(
                what,
                format!("{size} bytes are too many"),
            ));
        }
        let mut body = Vec::with_capacity(size);
        let mut reader = object.take(MAX_BLOB as u64);
        let read = async {
            let read = reader.read_to_end(&mut body).await;
            read.map_err(|error| match error.kind() {
                ErrorKind::InvalidData => BrokerError::unreadable(&what, error),
                _ => BrokerError::unreachable(&what, error),
            })
        };
        let of = format!("CONSUMER.CREATE.{}", self.names().blobs_stream());
        self.unless_denied(&what, mentions(of), read).await?;
        let expected = name
            .strip_prefix("sha256-")
            .and_then(|n| n.split('.').next());
        let body = Bytes::from(body);
        if expected != Some(hex(&digest(body.clone()).await).as_str()) {
            return Err(BrokerError::unreadable(
                what,
                "its digest is not the one in its name",
            ));
        }
        Ok(body)
    }

    /// Removes a body; one that is gone is no error.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove_blob(&self, name: &str) -> Result<(), BrokerError> {
        let Some(info) = self.blob_info(name).await? else {
            return Ok(());
        };
        let nuid = info.nuid.clone();
        let deleted = ObjectInfo {
            size: 0,
            chunks: 0,
            deleted: true,
            ..info
        };
        self.write_info(&deleted).await?;
        self.roll_up(&nuid).await
    }

    /// What is known of a body that is there.
    async fn blob_info(&self, name: &str) -> Result<Option<ObjectInfo>, BrokerError> {
        let subject = self.names().blob_info(&URL_SAFE.encode(name));
        let found = self.last(&self.names().blobs_stream(), &subject).await?;
        let info = found.and_then(|found| serde_json::from_slice::<ObjectInfo>(&found.body).ok());
        Ok(info.filter(|info| !info.deleted))
    }

    async fn write_info(&self, info: &ObjectInfo) -> Result<(), BrokerError> {
        let outgoing = Outgoing {
            subject: self.names().blob_info(&URL_SAFE.encode(&info.name)),
            headers: rolled_up(),
            body: Encoding::Json.encode(info).into(),
            ..Outgoing::default()
        };
        self.publish(&outgoing).await?;
        Ok(())
    }

    /// Removes the chunks of a body. Not by a purge, which names them in its own body, so that
    /// whoever may purge one may purge all.
    async fn roll_up(&self, nuid: &str) -> Result<(), BrokerError> {
        let empty = Outgoing {
            subject: self.names().blob_chunks(nuid),
            headers: rolled_up(),
            ..Outgoing::default()
        };
        self.publish(&empty).await?;
        Ok(())
    }

    async fn blobs(&self, what: &str) -> Result<ObjectStore, BrokerError> {
        let name = self.names().blobs_bucket();
        let get = async {
            let bucket = self.jetstream().get_object_store(&name).await;
            bucket.map_err(|error| {
                let source = error
                    .source()
                    .and_then(|s| s.downcast_ref::<GetStreamError>());
                match source.map(GetStreamError::kind) {
                    Some(GetStreamErrorKind::JetStream(refused)) => match refused.error_code() {
                        ErrorCode::STREAM_NOT_FOUND => BrokerError::Missing {
                            what: what.to_owned(),
                            name: self.names().blobs_bucket(),
                        },
                        _ => BrokerError::refused(what, error),
                    },
                    _ => BrokerError::unreachable(what, error),
                }
            })
        };
        let of = format!("STREAM.INFO.{}", self.names().blobs_stream());
        self.unless_denied(what, mentions(of), get).await
    }
}
