//! The trees that tasks run in, as the broker holds them: packs of contents, and the heads of
//! trees and of changes. What is in a pack is the business of who reads it.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use bytes::Bytes;
use futures::TryStreamExt;
use tokio::time::sleep;

use super::publish::{Outgoing, PublishError};
use super::{Broker, BrokerError, mentions};
use crate::protocol::{Digest, Encoding, TreeHead};

/// How often a message that the broker does not confirm is published.
const ATTEMPTS: u32 = 4;
/// The wait before it is published again. It is the same message, so once more does no harm.
const REPEAT_AFTER: Duration = Duration::from_millis(250);

/// What a head is that of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TreeKind {
    /// A tree that tasks run in.
    Whole,
    /// What a task changed in one.
    Changes,
}

/// A head as it is stored.
#[derive(Debug, Clone)]
pub struct StoredTree {
    /// What it is the head of.
    pub kind: TreeKind,
    /// Of the manifest.
    pub digest: Digest,
    /// What it says.
    pub head: TreeHead,
}

/// What the broker has, by name.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// The packs.
    pub packs: HashSet<Digest>,
    /// The trees.
    pub trees: HashSet<Digest>,
    /// How long a message is kept; zero: for ever.
    pub keeps: Duration,
    /// Tells this store from another one, also from one that was made anew: text for a file name.
    pub store: String,
}

impl Broker {
    /// Stores a pack under the digest of what is in it, or stores it again, which makes it young.
    ///
    /// # Errors
    /// When the broker refuses it (it is full: `workspace gc`) or does not answer.
    pub async fn put_pack(&self, digest: &Digest, body: Bytes) -> Result<(), BrokerError> {
        let subject = self.names().workspace_pack(&digest.hex());
        self.put_until_heard(subject, body).await
    }

    /// Reads a pack as it was stored; `None` when it is not there.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn pack(&self, digest: &Digest) -> Result<Option<Bytes>, BrokerError> {
        let subject = self.names().workspace_pack(&digest.hex());
        let found = self.last(&self.names().workspaces(), &subject).await?;
        Ok(found.map(|message| message.body))
    }

    /// Stores the head of a tree or of changes, which makes them known. Its packs come first.
    ///
    /// # Errors
    /// As [`Broker::put_pack`].
    pub async fn put_tree(
        &self,
        kind: TreeKind,
        digest: &Digest,
        head: &TreeHead,
    ) -> Result<(), BrokerError> {
        let body = Encoding::Json.encode(head).into();
        self.put_until_heard(self.tree_subject(kind, &digest.hex()), body)
            .await
    }

    /// Reads the head of a tree or of changes; `None` when it is not there.
    ///
    /// # Errors
    /// When the broker does not answer, or what is stored makes no sense.
    pub async fn tree(
        &self,
        kind: TreeKind,
        digest: &Digest,
    ) -> Result<Option<TreeHead>, BrokerError> {
        let subject = self.tree_subject(kind, &digest.hex());
        let Some(found) = self.last(&self.names().workspaces(), &subject).await? else {
            return Ok(None);
        };
        let head = Encoding::Json.decode(&found.body);
        head.map(Some)
            .map_err(|e| BrokerError::unreadable(subject, e))
    }

    /// All heads, oldest first. One that makes no sense is passed over.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn trees(&self, kind: TreeKind) -> Result<Vec<StoredTree>, BrokerError> {
        let filter = self.tree_subject(kind, "*");
        let found = self.scan(&self.names().workspaces(), &filter, 1).await?;
        let read = found.into_iter().filter_map(|message| {
            let head = Encoding::Json.decode(&message.body).ok()?;
            let digest = last_token(&message.subject)?;
            Some(StoredTree { kind, digest, head })
        });
        Ok(read.collect())
    }

    /// What there is, by name.
    ///
    /// # Errors
    /// When the broker does not answer, or the stream was never made.
    pub async fn inventory(&self) -> Result<Inventory, BrokerError> {
        let (what, stream) = ("list the workspaces", self.workspace_stream().await?);
        let config = &stream.cached_info().config;
        let created = stream.cached_info().created.unix_timestamp_nanos();
        let mut inventory = Inventory {
            packs: HashSet::new(),
            trees: HashSet::new(),
            keeps: config.max_age,
            store: format!("{}-{created}", config.name),
        };
        let all = self.names().workspace_subjects();
        let subjects = async {
            let subjects = stream.info_with_subjects(all).await;
            subjects.map_err(|e| BrokerError::unreachable(what, e))
        };
        let of = self.names().workspaces();
        let mut subjects = self.unless_denied(what, mentions(of), subjects).await?;
        let (packs, trees) = (
            self.names().workspace_pack(""),
            self.names().workspace_tree(""),
        );
        while let Some((subject, _)) = subjects
            .try_next()
            .await
            .map_err(|e| BrokerError::unreachable(what, e))?
        {
            let name = |prefix: &str| subject.strip_prefix(prefix)?.parse::<Digest>().ok();
            inventory.packs.extend(name(&packs));
            inventory.trees.extend(name(&trees));
        }
        Ok(inventory)
    }

    /// Removes a head; the tree is then unknown. One that is gone is no error.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove_tree(&self, kind: TreeKind, digest: &Digest) -> Result<(), BrokerError> {
        self.clear(self.tree_subject(kind, &digest.hex())).await
    }

    /// Removes a pack. One that is gone is no error.
    ///
    /// # Errors
    /// When the broker does not answer or does not permit it.
    pub async fn remove_pack(&self, digest: &Digest) -> Result<(), BrokerError> {
        self.clear(self.names().workspace_pack(&digest.hex())).await
    }

    fn tree_subject(&self, kind: TreeKind, digest: &str) -> String {
        match kind {
            TreeKind::Whole => self.names().workspace_tree(digest),
            TreeKind::Changes => self.names().workspace_changes(digest),
        }
    }

    async fn put_until_heard(&self, subject: String, body: Bytes) -> Result<(), BrokerError> {
        let outgoing = Outgoing {
            subject,
            body,
            ..Outgoing::default()
        };
        let mut attempt = 1;
        loop {
            match self.publish(&outgoing).await {
                Ok(_) => return Ok(()),
                Err(PublishError::Unknown { .. } | PublishError::NoStream(_))
                    if attempt < ATTEMPTS =>
                {
                    attempt += 1;
                    sleep(REPEAT_AFTER).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn clear(&self, subject: String) -> Result<(), BrokerError> {
        let stream = self.workspace_stream().await?;
        let what = format!("remove {subject}");
        let purge = async {
            let purged = stream.purge().filter(&subject).await;
            purged.map_err(|e| BrokerError::refused(&what, e))
        };
        let of = self.names().workspaces();
        self.unless_denied(&what, mentions(of), purge)
            .await
            .map(drop)
    }

    async fn workspace_stream(&self) -> Result<Stream, BrokerError> {
        let name = self.names().workspaces();
        let what = format!("find {name}");
        let find = async {
            let stream = self.jetstream().get_stream(&name).await;
            stream.map_err(|e| BrokerError::unreachable(&what, e))
        };
        self.unless_denied(&what, mentions(name.clone()), find)
            .await
    }
}

fn last_token(subject: &str) -> Option<Digest> {
    subject.rsplit('.').next()?.parse().ok()
}
