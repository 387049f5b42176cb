//! Removes trees that are old and that no task needs, and then the packs that no tree needs.
//!
//! A tree is needed while the broker has a task that names it, queued or running. A task that still
//! waits in its caller's process is unknown to the broker: against that, and against a sync that is
//! under way, only the age protects.

use std::collections::{BTreeMap, BTreeSet};

use a3s_shared::broker::{Broker, BrokerError, StoredTree, TreeKind};
use a3s_shared::protocol::{Digest, Places, WorkspaceRef};
use a3s_shared::workspace::text;
use futures::{StreamExt as _, TryStreamExt as _};

use crate::inspect;

/// How many removals are under way at a time.
const AT_ONCE: usize = 16;

/// What is to be removed, and why not more.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    /// Trees and changes that are old and not needed.
    pub(crate) trees: Vec<StoredTree>,
    /// Packs that only those have.
    pub(crate) packs: BTreeSet<Digest>,
    /// Old trees that stay, because so many tasks need them.
    pub(crate) needed: BTreeMap<Digest, usize>,
}

/// The trees that tasks need which the broker has, and how many do.
pub(crate) async fn needed(broker: &Broker) -> Result<BTreeMap<Digest, usize>, BrokerError> {
    let mut needed = BTreeMap::new();
    for task in inspect::tasks::list(broker, None, usize::MAX).await? {
        let named = task.stored.headers.workspace.as_deref();
        let reference: Option<WorkspaceRef> = named.and_then(|text| text.parse().ok());
        if let Some(reference) = reference {
            *needed.entry(reference.digest).or_default() += 1;
        }
    }
    Ok(needed)
}

/// Looks for what was stored before `before_ms` (broker's time, milliseconds since 1970) and is
/// needed by nobody.
pub(crate) async fn find(broker: &Broker, before_ms: u64) -> Result<Garbage, BrokerError> {
    let needed = needed(broker).await?;
    let (mut garbage, mut kept) = (Garbage::default(), Vec::new());
    for kind in [TreeKind::Whole, TreeKind::Changes] {
        for tree in broker.trees(kind).await? {
            let old = tree.head.at_ms <= before_ms;
            match needed.get(&tree.digest) {
                Some(tasks) if old => {
                    garbage.needed.insert(tree.digest, *tasks);
                    kept.push(tree);
                }
                None if old => garbage.trees.push(tree),
                _ => kept.push(tree),
            }
        }
    }
    for tree in &garbage.trees {
        garbage.packs.extend(packs(broker, tree).await);
    }
    for tree in &kept {
        for pack in packs(broker, tree).await {
            garbage.packs.remove(&pack);
        }
    }
    Ok(garbage)
}

/// The packs of a tree, as far as they are known: what is missing needs no removal, and what a
/// kept tree has lost keeps nothing.
async fn packs(broker: &Broker, tree: &StoredTree) -> BTreeSet<Digest> {
    let head = &tree.head;
    let texts = head.manifest.iter().chain(&head.places).copied();
    let mut all: BTreeSet<Digest> = texts.collect();
    if let Ok(text) = text::fetch(broker, &head.places).await
        && let Ok(places) = Places::parse(&text)
    {
        all.extend(places.packs());
    }
    all
}

/// Removes it: trees first, so that no tree is left without its packs.
pub(crate) async fn remove(broker: &Broker, garbage: &Garbage) -> Result<(), BrokerError> {
    for tree in &garbage.trees {
        broker.remove_tree(tree.kind, &tree.digest).await?;
    }
    let packs = futures::stream::iter(&garbage.packs).map(|pack| broker.remove_pack(pack));
    packs.buffer_unordered(AT_ONCE).try_collect().await
}
