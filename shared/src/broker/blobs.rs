//! Bodies that are too large for a message, in the object store, named by their digest.

use std::fmt::Write as _;
use std::io::ErrorKind;

use async_nats::jetstream::object_store::GetErrorKind;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::task::spawn_blocking;

use super::{Broker, BrokerError};

/// Bodies above this many bytes go to the object store.
pub const BLOB_THRESHOLD: usize = 256 * 1024;

/// The largest body, in bytes.
const MAX_BLOB: usize = 256 * 1024 * 1024;

/// Elsewhere, because it takes long: the thread that talks to the broker also renews leases.
async fn digest(body: Bytes) -> String {
    let compute = move || {
        let mut text = String::with_capacity(64);
        for byte in Sha256::digest(&body) {
            let _ = write!(text, "{byte:02x}");
        }
        text
    };
    // It does not panic. An empty digest is nobody's, so the body would count as damaged.
    spawn_blocking(compute).await.unwrap_or_default()
}

impl Broker {
    /// Stores a body for a task or result and returns its name, which begins with its digest.
    /// `owner` keeps equal bodies of different tasks apart, so that each goes with its own.
    ///
    /// # Errors
    /// When it is larger than 256 MiB, or the object store refuses it.
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
        let name = format!("sha256-{}.{owner}", digest(body.clone()).await);
        let bucket = self.blobs(&what).await?;
        let mut reader = body.as_ref();
        let put = bucket.put(name.as_str(), &mut reader).await;
        put.map_err(|e| BrokerError::refused(what, e))?;
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
        let object = bucket.get(name).await.map_err(|error| match error.kind() {
            GetErrorKind::NotFound | GetErrorKind::InvalidName => {
                BrokerError::unreadable(&what, error)
            }
            _ => BrokerError::unreachable(&what, error),
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
        let read = reader.read_to_end(&mut body).await;
        read.map_err(|error| match error.kind() {
            ErrorKind::InvalidData => BrokerError::unreadable(&what, error),
            _ => BrokerError::unreachable(&what, error),
        })?;
        let expected = name
            .strip_prefix("sha256-")
            .and_then(|n| n.split('.').next());
        let body = Bytes::from(body);
        if expected != Some(digest(body.clone()).await.as_str()) {
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
