//! The manifest of a tree, reading only the files that changed since the last time.

use std::collections::HashSet;
use std::path::Path;
use std::thread;

use a3s_shared::protocol::{BadManifest, Digest, Entry, Kind, Manifest};
use a3s_shared::workspace::read::{self, ReadError, Stamp};
use a3s_shared::workspace::send::Source;

use super::memory::TreeMemory;
use super::walk::{File, Walked, walk};

/// The most threads that read files: more than a few only make a disk seek.
const READERS: usize = 8;

/// A tree as it is now.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Its paths.
    pub(crate) manifest: Manifest,
    /// Its contents, each once.
    pub(super) sources: Vec<Source>,
    /// How many files had to be read.
    pub(super) read: usize,
    /// What does not come along, a sentence each.
    pub(super) skipped: Vec<String>,
}

/// A tree that cannot be synced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ScanError {
    /// A file could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A path that no worker would take.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
}

/// Scans the tree at `root`.
pub(super) fn scan(root: &Path) -> Result<Scanned, ScanError> {
    let memory = TreeMemory::load(root);
    let Walked {
        files,
        links,
        mut skipped,
    } = walk(root);
    let read_at = read::now_ns();
    let known: Vec<Option<Digest>> = files
        .iter()
        .map(|file| memory.digest(&file.path, &file.stamp))
        .collect();
    let to_read: Vec<&File> = files
        .iter()
        .zip(&known)
        .filter_map(|(file, known)| known.is_none().then_some(file))
        .collect();
    let count = to_read.len();
    let mut digests = read_all(&to_read)?.into_iter();
    let mut tree = Vec::with_capacity(files.len());
    for (file, known) in files.iter().zip(known) {
        match known {
            Some(digest) => tree.push((file, file.stamp, digest)),
            None => match digests.next().flatten() {
                Some((stamp, digest)) => tree.push((file, stamp, digest)),
                None => skipped.push(format!("{}: left out, it is gone", file.place.display())),
            },
        }
    }
    let settled = tree
        .iter()
        .filter(|(_, stamp, _)| stamp.is_settled(read_at))
        .map(|(file, stamp, digest)| (file.path.as_str(), stamp, digest));
    TreeMemory::save(root, settled);
    Ok(Scanned {
        sources: sources(&tree),
        manifest: manifest(&tree, links)?,
        read: count,
        skipped,
    })
}

type Read<'a> = (&'a File, Stamp, Digest);

fn manifest(tree: &[Read<'_>], links: Vec<Entry>) -> Result<Manifest, BadManifest> {
    let files = tree.iter().map(|(file, stamp, digest)| Entry {
        path: file.path.clone(),
        kind: Kind::File {
            digest: *digest,
            size: stamp.size,
            executable: stamp.executable,
        },
    });
    Manifest::new(files.chain(links).collect())
}

fn sources(tree: &[Read<'_>]) -> Vec<Source> {
    let mut seen = HashSet::with_capacity(tree.len());
    tree.iter()
        .filter(|(_, _, digest)| seen.insert(*digest))
        .map(|(file, stamp, digest)| Source {
            digest: *digest,
            size: stamp.size,
            path: file.place.clone(),
        })
        .collect()
}

/// Reads files on several threads. `None` for one that is gone by now.
fn read_all(files: &[&File]) -> Result<Vec<Option<(Stamp, Digest)>>, ReadError> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(threads.min(READERS)).max(1);
    thread::scope(|scope| {
        let readers: Vec<_> = files
            .chunks(share)
            .map(|files| scope.spawn(move || files.iter().map(|file| read(file)).collect()))
            .collect();
        let mut all = Vec::with_capacity(files.len());
        for reader in readers {
            let read: Result<Vec<_>, ReadError> = match reader.join() {
                Ok(read) => read,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            all.extend(read?);
        }
        Ok(all)
    })
}

fn read(file: &File) -> Result<Option<(Stamp, Digest)>, ReadError> {
    match read::digest(&file.place) {
        Ok(read) => Ok(Some(read)),
        Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
