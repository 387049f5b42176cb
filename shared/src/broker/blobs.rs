//! Bodies that are too large for a message, in the object store, named by their digest.

use std::fmt::Write as _;
use std::time::Duration;

use async_nats::jetstream::object_store::GetErrorKind;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::{Broker, BrokerError};

/// Bodies above this many bytes go to the object store.
pub const BLOB_THRESHOLD: usize = 256 * 1024;

/// How long the read of a body may take: 256 MiB at 2 MiB/s, and then some.
const READ_WITHIN: Duration = Duration::from_secs(150);

/// The largest body, in bytes.
const MAX_BLOB: usize = 256 * 1024 * 1024;

fn digest(body: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(body) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Broker {
    /// Stores a body for a task or result and returns its name, which begins with its digest.
    /// `owner` keeps equal bodies of different tasks apart, so that each goes with its own.
    ///
    /// # Errors
    /// When it is larger than 256 MiB, or the object store refuses it.
    pub async fn put_blob(&self, body: &[u8], owner: &str) -> Result<String, BrokerError> {
        let name = format!("sha256-{}.{owner}", digest(body));
        let what = format!("store a body of {} bytes", body.len());
        if body.len() > MAX_BLOB {
            return Err(BrokerError::refused(
                what,
                format!("the limit is {MAX_BLOB} bytes"),
            ));
        }
        let bucket = self.blobs(&what).await?;
        let mut reader = body;
        let put = bucket.put(name.as_str(), &mut reader).await;
        put.map_err(|e| BrokerError::refused(what, e))?;
        Ok(name)
    }

    /// Reads a body back and checks it against its digest.
    ///
    /// # Errors
    /// [`BrokerError::Unreadable`] when it is gone, larger than 256 MiB, or not what its name says;
    /// another one when it is not to be had now.
    pub async fn get_blob(&self, name: &str) -> Result<Bytes, BrokerError> {
        let what = format!("read body {name}");
        let bucket = self.blobs(&what).await?;
        let object = bucket.get(name).await.map_err(|e| match e.kind() {
            GetErrorKind::NotFound | GetErrorKind::InvalidName => BrokerError::unreadable(&what, e),
            _ => BrokerError::unreachable(&what, e),
        })?;
        let size = object.info().size;
        if size > MAX_BLOB {
            return Err(BrokerError::unreadable(
                what,
                format!("{size} bytes are too many"),
            ));
        }
        let mut body = Vec::with_capacity(size);
        let mut reader = object.take(MAX_BLOB as u64);
        let read = timeout(READ_WITHIN, reader.read_to_end(&mut body)).await;
        let read = read.unwrap_or_else(|late| Err(late.into()));
        read.map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidData => BrokerError::unreadable(&what, e),
            _ => BrokerError::unreachable(&what, e),
        })?;
        let expected = name
            .strip_prefix("sha256-")
            .and_then(|n| n.split('.').next());
        if expected != Some(digest(&body).as_str()) {
            return Err(BrokerError::unreadable(
                what,
                "its digest is not the one in its name",
            ));
        }
        Ok(body.into())
    }

    /// Removes a body; one that is gone is no error.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove_blob(&self, name: &str) -> Result<(), BrokerError> {
        use async_nats::jetstream::object_store::DeleteErrorKind;
        let what = format!("remove body {name}");
        match self.blobs(&what).await?.delete(name).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == DeleteErrorKind::NotFound => Ok(()),
            Err(error) => Err(BrokerError::refused(what, error)),
        }
    }

    async fn blobs(
        &self,
        what: &str,
    ) -> Result<async_nats::jetstream::object_store::ObjectStore, BrokerError> {
        let bucket = self
            .jetstream()
            .get_object_store(self.names().blobs_bucket())
            .await;
        bucket.map_err(|e| BrokerError::refused(what, e))
    }
}
