//! Trees and contents from the broker. Everything is verified against the digest that it was asked
//! by, before anybody else sees it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;

use super::pack::{Damaged, Pack};
use super::text;
use crate::broker::{Broker, BrokerError, TreeKind};
use crate::protocol::{BadManifest, Digest, Manifest, Place, Places, TreeHead};

/// How many packs are under way at a time.
const AT_ONCE: usize = 16;

/// A tree as it is stored.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Whose it is.
    pub head: TreeHead,
    /// Its paths.
    pub manifest: Manifest,
    /// Where its contents are.
    pub places: Places,
}

/// Why something could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The broker did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// It is not in the store: it was removed, or is older than the store keeps things.
    #[error("{what} is not in the store (any more): sync again")]
    Missing {
        /// The tree, pack or content.
        what: String,
    },
    /// It is not what its name says.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// A text makes no sense.
    #[error("the tree cannot be read: {why}")]
    Senseless {
        /// Why not.
        why: String,
    },
    /// The manifest could do harm.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// A file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FetchError {
    /// Whether another attempt may end better. What is stored wrong stays wrong.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Senseless { .. } | Self::Manifest(_))
    }
}

/// Reads a tree or changes by the digest of its manifest.
///
/// # Errors
/// [`FetchError`].
pub async fn tree(broker: &Broker, kind: TreeKind, digest: Digest) -> Result<Tree, FetchError> {
    let head = broker.tree(kind, &digest).await?;
    let what = || format!("workspace {digest}");
    let head = head.ok_or_else(|| FetchError::Missing { what: what() })?;
    let (manifest, places) = tokio::try_join!(
        text::fetch(broker, &head.manifest),
        text::fetch(broker, &head.places)
    )?;
    let read = move || {
        if Digest::of(manifest.as_bytes()) != digest {
            let why = format!("its digest is not {digest}");
            return Err(FetchError::Senseless { why });
        }
        let places = Places::parse(&places);
        let places = places.map_err(|e| FetchError::Senseless { why: e.to_string() })?;
        Ok((Manifest::parse(&manifest)?, places))
    };
    let (manifest, places) = unwound(spawn_blocking(read).await)?;
    Ok(Tree {
        head,
        manifest,
        places,
    })
}

/// The bytes of a pack. Owns what it needs: streams of such futures are otherwise not `Send`.
pub(super) async fn pack_bytes(broker: Broker, digest: Digest) -> Result<Vec<u8>, FetchError> {
    let body = broker.pack(&digest).await?;
    let what = || format!("pack {digest}");
    let body = body.ok_or_else(|| FetchError::Missing { what: what() })?;
    let open = move || Pack::open(digest, &body);
    Ok(unwound(spawn_blocking(open).await)?)
}

/// Reads the contents `wanted` (with their sizes) into files below `dir`, one after the other as
/// they come. `done` gets each, verified, under the name of its digest, and takes it away; it runs
/// on threads that may block.
///
/// # Errors
/// [`FetchError`], also that of `done`. What was taken away until then is whole.
pub async fn contents(
    broker: &Broker,
    wanted: &[(Digest, u64)],
    places: &Places,
    dir: &Path,
    done: impl Fn(&Digest, &Path) -> io::Result<()> + Clone + Send + 'static,
) -> Result<(), FetchError> {
    let (small, large) = sort(wanted, places)?;
    let small = futures::stream::iter(small).map(|(pack, parts)| {
        let (broker, dir, done) = (broker.clone(), dir.to_owned(), done.clone());
        async move {
            let bytes = pack_bytes(broker, pack).await?;
            let write = move || {
                parts.iter().try_for_each(|(content, place)| {
                    write_small(&bytes, content, place, &dir, &done)
                })
            };
            unwound(spawn_blocking(write).await)
        }
    });
    small.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    for (content, places) in large {
        write_large(broker, content, places, dir, done.clone()).await?;
    }
    Ok(())
}

type Small = BTreeMap<Digest, Vec<(Digest, Place)>>;
type Large = Vec<(Digest, Vec<Place>)>;

/// What is in one pack by its pack, and what is in several.
fn sort(wanted: &[(Digest, u64)], places: &Places) -> Result<(Small, Large), FetchError> {
    let (mut small, mut large) = (Small::new(), Large::new());
    for (content, size) in wanted {
        let found = places.0.get(content).map_or(&[][..], Vec::as_slice);
        let length: u64 = found.iter().map(|place| u64::from(place.length)).sum();
        match found {
            [] => {
                let what = format!("content {content}");
                return Err(FetchError::Missing { what });
            }
            _ if length != *size => {
                let why = format!("content {content} has {size} bytes and places for {length}");
                return Err(FetchError::Senseless { why });
            }
            [place] => small
                .entry(place.pack)
                .or_default()
                .push((*content, *place)),
            several => large.push((*content, several.to_vec())),
        }
    }
    Ok((small, large))
}

/// The part of a pack that a place means.
fn slice<'a>(bytes: &'a [u8], content: &Digest, place: &Place) -> Result<&'a [u8], FetchError> {
    let from = place.offset as usize;
    let part = bytes.get(from..from.saturating_add(place.length as usize));
    part.ok_or_else(|| FetchError::Senseless {
        why: format!("content {content} is beyond the end of pack {}", place.pack),
    })
}

fn differs(content: &Digest) -> FetchError {
    FetchError::Senseless {
        why: format!("what is stored as content {content} is another one"),
    }
}

fn write_small(
    bytes: &[u8],
    content: &Digest,
    place: &Place,
    dir: &Path,
    done: &impl Fn(&Digest, &Path) -> io::Result<()>,
) -> Result<(), FetchError> {
    let part = slice(bytes, content, place)?;
    if Digest::of(part) != *content {
        return Err(differs(content));
    }
    let path = dir.join(content.hex());
    let written = std::fs::write(&path, part).and_then(|()| done(content, &path));
    written.map_err(|source| FetchError::Io { path, source })
}

async fn write_large(
    broker: &Broker,
    content: Digest,
    places: Vec<Place>,
    dir: &Path,
    done: impl Fn(&Digest, &Path) -> io::Result<()> + Send + 'static,
) -> Result<(), FetchError> {
    let path = dir.join(content.hex());
    let io = |source| FetchError::Io {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    let mut file = options.open(&path).map_err(io)?;
    let mut hasher = Sha256::new();
    let packs = futures::stream::iter(places).map(|place| {
        let bytes = pack_bytes(broker.clone(), place.pack);
        async move { bytes.await.map(|bytes| (bytes, place)) }
    });
    let mut packs = std::pin::pin!(packs.buffered(AT_ONCE));
    while let Some((bytes, place)) = packs.try_next().await? {
        let part = slice(&bytes, &content, &place)?;
        hasher.update(part);
        file.write_all(part).map_err(io)?;
    }
    if Digest::finish(hasher) != content {
        return Err(differs(&content));
    }
    drop(file);
    let taken = path.clone();
    let take = move || done(&content, &taken);
    unwound(spawn_blocking(take).await).map_err(io)
}

/// The result of a thread; its panic goes on here.
fn unwound<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
