//! A tree into the store: what it lacks, and nothing else.
//!
//! What the store has is known from the last sync, and from the places of the newest trees that
//! others stored; both are held against the list of its packs. A pack that is older than half of
//! the time that the store keeps it counts as missing, so that a tree lives for the other half at
//! least.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use a3s_shared::broker::{Broker, BrokerError, Inventory, TreeKind};
use a3s_shared::protocol::{Digest, Encoding, Manifest, Places, TreeHead, clock};
pub(crate) use a3s_shared::workspace::send::SendError;
use a3s_shared::workspace::send::{self, Sent};
use a3s_shared::workspace::text;
use futures::StreamExt as _;
use tokio::task::spawn_blocking;

use super::memory::StoreMemory;
use super::scan::{ScanError, Scanned, scan};

/// How often a tree that changes while it is synced is synced again.
const ATTEMPTS: u32 = 3;

/// How many heads of trees that others stored are looked at.
const HEADS: usize = 256;
/// From how many of them, the newest, is learnt what the store has.
const LEARN_FROM: usize = 4;

/// A tree that is in the store.
#[derive(Debug)]
pub(crate) struct Pushed {
    /// The name of the tree.
    pub(crate) digest: Digest,
    /// Its paths.
    pub(crate) manifest: Manifest,
    /// Where it is here.
    pub(crate) root: PathBuf,
    /// How many files had to be read.
    pub(crate) read: usize,
    /// Files whose content was sent.
    pub(crate) sent_files: u64,
    /// The bytes of these contents.
    pub(crate) sent_bytes: u64,
    /// What went over the network for it, manifest and places included.
    pub(crate) network_bytes: u64,
    /// What does not come along, a sentence each.
    pub(crate) skipped: Vec<String>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// A tree that could not be stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// It cannot be read.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A content could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The broker refused something or does not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Somebody removed from the store what this tree relies on, each time.
    #[error("the store lost parts of the tree while it was synced: is `workspace gc` running?")]
    Lost,
}

impl PushError {
    /// Whether the tree was changed meanwhile, so that the next attempt sees another one.
    fn is_change(&self) -> bool {
        matches!(self, Self::Send(SendError::Changed(_) | SendError::Read(_)))
    }
}

/// Stores the tree at `root`. `by` says who does; `told` hears how far it is.
pub(crate) async fn push(
    broker: &Broker,
    root: &Path,
    by: &str,
    told: impl Fn(&Sent, u64),
) -> Result<Pushed, PushError> {
    let began = Instant::now();
    let mut attempt = 1;
    loop {
        match Push::start(broker, root, by).await {
            Ok(push) => match push.run(&told).await {
                Ok(Some(mut pushed)) => {
                    pushed.took = began.elapsed();
                    return Ok(pushed);
                }
                Ok(None) if attempt == ATTEMPTS => return Err(PushError::Lost),
                Ok(None) => {}
                Err(error) if error.is_change() && attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error),
        }
        attempt += 1;
    }
}

/// One attempt.
struct Push<'a> {
    broker: &'a Broker,
    root: &'a Path,
    by: &'a str,
    scanned: Scanned,
    inventory: Inventory,
    memory: StoreMemory,
}

impl<'a> Push<'a> {
    async fn start(broker: &'a Broker, root: &'a Path, by: &'a str) -> Result<Self, PushError> {
        let here = root.to_owned();
        let scanning = spawn_blocking(move || scan(&here));
        let inventory = broker.inventory().await?;
        let mut memory = StoreMemory::load(&inventory.store);
        memory.keep_only(|pack, at| serves(&inventory, pack, at));
        let mut push = Self {
            broker,
            root,
            by,
            inventory,
            memory,
            scanned: match scanning.await {
                Ok(scanned) => scanned?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            },
        };
        push.learn().await;
        Ok(push)
    }

    /// Learns what the store has from trees that others stored. When that fails, more is sent.
    async fn learn(&mut self) {
        let seen = &self.memory.seen;
        let unseen: Vec<Digest> = self.inventory.trees.difference(seen).copied().collect();
        let broker = self.broker;
        let heads = futures::stream::iter(unseen.iter().take(HEADS).copied());
        let heads = heads.map(|digest| async move { broker.tree(TreeKind::Whole, &digest).await });
        let heads = heads.buffer_unordered(16);
        let heads = heads.filter_map(|head| async move { head.ok().flatten() });
        let mut heads: Vec<TreeHead> = heads.collect().await;
        heads.sort_by_key(|head| std::cmp::Reverse(head.at_ms));
        for head in heads.iter().take(LEARN_FROM) {
            let Ok(text) = text::fetch(broker, &head.places).await else {
                continue;
            };
            let theirs = Places::parse(&text).unwrap_or_default();
            for (content, places) in theirs.0 {
                self.memory.places.0.entry(content).or_insert(places);
            }
        }
        self.memory.seen.extend(unseen);
        let inventory = &self.inventory;
        self.memory
            .keep_only(|pack, at| serves(inventory, pack, at));
    }

    /// Sends; `None` when the store lost meanwhile what is relied on.
    async fn run(mut self, told: impl Fn(&Sent, u64)) -> Result<Option<Pushed>, PushError> {
        let mut lacking = self.scanned.sources.clone();
        lacking.retain(|source| !self.memory.places.0.contains_key(&source.digest));
        let total = lacking.iter().map(|source| source.size).sum();
        let sent = send::send(self.broker, lacking, |sent| told(sent, total)).await?;
        let mut network_bytes = sent.packed_bytes;
        self.memory.places.0.extend(sent.places.0);
        let places = self.places();
        let packs = places.packs();

        let manifest_lines: Vec<_> = self.scanned.manifest.lines().collect();
        let text: String = manifest_lines
            .iter()
            .map(|(line, _)| line.as_str())
            .collect();
        let digest = Digest::of(text.as_bytes());
        let manifest = self.send_text(manifest_lines, &mut network_bytes).await?;
        let places = self
            .send_text(places.lines().collect(), &mut network_bytes)
            .await?;
        let relied: BTreeSet<Digest> = packs
            .into_iter()
            .chain(manifest.iter().copied())
            .chain(places.iter().copied())
            .collect();
        let head = TreeHead {
            files: self.scanned.manifest.entries().len() as u64,
            bytes: self.scanned.manifest.bytes(),
            at_ms: clock::now_ms(),
            by: self.by.to_owned(),
            root: self.root.display().to_string(),
            manifest,
            places,
        };
        self.broker
            .put_tree(TreeKind::Whole, &digest, &head)
            .await?;
        network_bytes += Encoding::Json.encode(&head).len() as u64;
        self.memory.seen.insert(digest);
        self.memory.save(&self.inventory.store);
        // From here on nobody removes them; before, somebody may have.
        let inventory = self.broker.inventory().await?;
        if !relied.iter().all(|pack| inventory.packs.contains(pack)) {
            return Ok(None);
        }
        Ok(Some(Pushed {
            digest,
            manifest: self.scanned.manifest,
            root: self.root.to_owned(),
            read: self.scanned.read,
            sent_files: sent.files,
            sent_bytes: sent.bytes,
            network_bytes,
            skipped: self.scanned.skipped,
            took: Duration::ZERO,
        }))
    }

    /// Where the contents of this tree are.
    fn places(&self) -> Places {
        let known = &self.memory.places.0;
        let of = |source: &send::Source| Some((source.digest, known.get(&source.digest)?.clone()));
        Places(self.scanned.sources.iter().filter_map(of).collect())
    }

    async fn send_text(
        &mut self,
        lines: Vec<(String, bool)>,
        network_bytes: &mut u64,
    ) -> Result<Vec<Digest>, BrokerError> {
        let known: BTreeSet<Digest> = self.memory.texts.keys().copied().collect();
        let text = text::send(self.broker, lines, move |piece| known.contains(piece)).await?;
        *network_bytes += text.bytes;
        let now_s = clock::now_ms() / 1_000;
        let sent = text.sent.into_iter().map(|piece| (piece, now_s));
        self.memory.texts.extend(sent);
        Ok(text.pieces)
    }
}

/// Whether a pack is there and will be for a while.
fn serves(inventory: &Inventory, pack: &Digest, stored_s: u64) -> bool {
    let age_s = (clock::now_ms() / 1_000).saturating_sub(stored_s);
    let limit_s = inventory.keeps.as_secs() / 2;
    inventory.packs.contains(pack) && (limit_s == 0 || age_s < limit_s)
}
