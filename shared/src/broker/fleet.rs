//! The workers that are there: their heartbeats, written by them and watched by coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::kv;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::{Broker, BrokerError, ends_in, mentions};
use crate::protocol::{Encoding, Introduction, Presence};

/// A worker that was not heard of for this long is gone. It writes every third of it.
pub const PRESENCE_TTL: Duration = Duration::from_secs(15);

/// The wait before a broken watch is opened again.
const REOPEN_AFTER: Duration = Duration::from_millis(500);

/// A live view of the workers. Clones share it; the watch ends with the last of them.
#[derive(Debug, Clone)]
pub struct Fleet {
    seen: Arc<Seen>,
    changes: watch::Receiver<u64>,
    _watcher: Arc<Watcher>,
}

/// The last heartbeat of each worker. Written by the watch, read by the views.
#[derive(Debug, Default)]
struct Seen(Mutex<BTreeMap<String, (Presence, Instant)>>);

#[derive(Debug)]
struct Watcher(JoinHandle<()>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Fleet {
    /// The workers heard of within [`PRESENCE_TTL`], by id.
    #[must_use]
    pub fn workers(&self) -> Vec<Presence> {
        let seen = self.seen.0.lock();
        let fresh = seen.values().filter(|(_, at)| at.elapsed() < PRESENCE_TTL);
        fresh.map(|(presence, _)| presence.clone()).collect()
    }

    /// Resolves at the next heartbeat or farewell.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Broker {
    /// Watches the workers. When this returns, those that are there are known.
    ///
    /// # Errors
    /// When the bucket of workers does not exist or the broker does not answer.
    pub async fn watch_fleet(&self) -> Result<Fleet, BrokerError> {
        let seen = Arc::new(Seen::default());
        let (sender, changes) = watch::channel(0);
        let what = "watch the workers";
        let bucket = self.workers_bucket(what).await?;
        let opened = async {
            let watch = open(&bucket).await?;
            Ok((watch, list(&bucket).await?))
        };
        let stream = self.names().kv_stream(&self.names().workers_bucket());
        let of = mentions(format!("CONSUMER.CREATE.{stream}"));
        let (watch, there) = self.unless_denied(what, of, opened).await?;
        for (key, value) in there {
            note(&seen, &key, &value);
        }
        let watcher = tokio::spawn(follow(bucket, watch, Arc::clone(&seen), sender));
        let _watcher = Arc::new(Watcher(watcher));
        Ok(Fleet {
            seen,
            changes,
            _watcher,
        })
    }

    /// Writes a worker's heartbeat.
    ///
    /// # Errors
    /// When it was not confirmed.
    pub async fn announce(&self, presence: &Presence) -> Result<(), BrokerError> {
        let what = format!("announce worker {}", presence.worker_id);
        let bucket = self.workers_bucket(&what).await?;
        let body = Encoding::Json.encode(presence);
        let put = async {
            let put = bucket.put(&presence.worker_id, body.into()).await;
            put.map(drop)
                .map_err(|e| BrokerError::unreachable(&what, e))
        };
        let bucket = self.names().workers_bucket();
        let of = ends_in(self.names().kv_key(&bucket, &presence.worker_id));
        self.unless_denied(&what, of, put).await
    }

    /// Removes a worker's heartbeat: it is gone and says so.
    ///
    /// # Errors
    /// When it was not confirmed.
    pub async fn depart(&self, worker_id: &str) -> Result<(), BrokerError> {
        let what = format!("remove worker {worker_id}");
        let bucket = self.workers_bucket(&what).await?;
        bucket
            .delete(worker_id)
            .await
            .map_err(|e| BrokerError::unreachable(what, e))
    }

    /// Asks a worker who it is and what its tools are.
    ///
    /// # Errors
    /// When it does not answer within the connection's request timeout, or not in words that can
    /// be read.
    pub async fn introduction(&self, worker_id: &str) -> Result<Introduction, BrokerError> {
        let subject = self.names().worker_endpoint(worker_id);
        let what = format!("ask worker {worker_id} for its tools");
        let answer = self.client().request(subject, bytes::Bytes::new()).await;
        let answer = answer.map_err(|e| BrokerError::unreachable(&what, e))?;
        let read = Encoding::Json.decode(&answer.payload);
        read.map_err(|e| BrokerError::unreadable(what, e))
    }

    async fn workers_bucket(&self, what: &str) -> Result<kv::Store, BrokerError> {
        self.bucket_of(what, self.names().workers_bucket()).await
    }

    /// A bucket that is there.
    pub(super) async fn bucket_of(
        &self,
        what: &str,
        name: String,
    ) -> Result<kv::Store, BrokerError> {
        let get = async {
            let bucket = self.jetstream().get_key_value(&name).await;
            bucket.map_err(|e| BrokerError::unreachable(what, e))
        };
        let of = format!("STREAM.INFO.{}", self.names().kv_stream(&name));
        self.unless_denied(what, ends_in(of), get).await
    }
}

async fn open(bucket: &kv::Store) -> Result<kv::Watch, BrokerError> {
    let watch = bucket.watch_all().await;
    watch.map_err(|e| BrokerError::unreachable("watch the workers", e))
}

async fn list(bucket: &kv::Store) -> Result<Vec<(String, bytes::Bytes)>, BrokerError> {
    let what = "list the workers";
    let keys = bucket
        .keys()
        .await
        .map_err(|e| BrokerError::unreachable(what, e))?;
    let keys: Vec<_> = keys
        .filter_map(|key| std::future::ready(key.ok()))
        .collect()
        .await;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        if let Ok(Some(value)) = bucket.get(&key).await {
            found.push((key, value));
        }
    }
    Ok(found)
}

fn note(seen: &Seen, key: &str, value: &[u8]) {
    match Encoding::Json.decode::<Presence>(value) {
        Ok(presence) => {
            let mut seen = seen.0.lock();
            seen.retain(|_, (_, at)| at.elapsed() < PRESENCE_TTL);
            seen.insert(key.to_owned(), (presence, Instant::now()));
        }
        Err(error) => tracing::debug!(worker.id = key, %error, "a heartbeat cannot be read"),
    }
}

async fn follow(
    bucket: kv::Store,
    mut watch: kv::Watch,
    seen: Arc<Seen>,
    changes: watch::Sender<u64>,
) {
    loop {
        while let Some(Ok(entry)) = watch.next().await {
            match entry.operation {
                kv::Operation::Put => note(&seen, &entry.key, &entry.value),
                _ => drop(seen.0.lock().remove(&entry.key)),
            }
            changes.send_modify(|n| *n += 1);
        }
        watch = loop {
            sleep(REOPEN_AFTER).await;
            if let Ok(watch) = open(&bucket).await {
                break watch;
            }
        };
    }
}
