//! A copy of a tree for one task: it may do with it what it likes, and nobody else sees it.
//!
//! Real copies, not hard links: a command may write a file in place, and would change the content
//! for everybody. On a filesystem that can (btrfs, XFS) the kernel shares the blocks until then.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use a3s_shared::protocol::{Entry, Kind, Manifest};

use super::cache::{Cache, Scratch, TreeInUse};

/// The most threads that copy.
const COPIERS: usize = 4;

/// A copy; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Private {
    root: PathBuf,
    /// What it was a copy of.
    pub(super) manifest: Arc<Manifest>,
    _scratch: Scratch,
}

impl Private {
    /// Copies a tree.
    pub(super) fn copy(cache: &Cache, tree: &TreeInUse) -> io::Result<Self> {
        let manifest = cache.manifest(tree)?;
        let scratch = cache.scratch()?;
        // The name that a command sees as that of its directory.
        let root = scratch.path().join("workspace");
        directories(&manifest, &root)?;
        let from = tree.root();
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = manifest
            .entries()
            .len()
            .div_ceil(threads.min(COPIERS))
            .max(1);
        thread::scope(|scope| {
            let shares = manifest.entries().chunks(share);
            let copiers: Vec<_> = shares
                .map(|entries| scope.spawn(|| copy_all(entries, &from, &root)))
                .collect();
            copiers.into_iter().try_for_each(|copier| {
                copier
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        Ok(Self {
            root,
            manifest,
            _scratch: scratch,
        })
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

fn directories(manifest: &Manifest, root: &Path) -> io::Result<()> {
    fs::create_dir_all(root)?;
    let mut made = "";
    for entry in manifest.entries() {
        let parent = entry.path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent != made {
            fs::create_dir_all(root.join(parent))?;
            made = parent;
        }
    }
    Ok(())
}

fn copy_all(entries: &[Entry], from: &Path, root: &Path) -> io::Result<()> {
    entries.iter().try_for_each(|entry| {
        let to = root.join(&entry.path);
        match &entry.kind {
            Kind::File { executable, .. } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut source = File::open(from.join(&entry.path))?;
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(mode);
                // The kernel copies, or shares the blocks.
                io::copy(&mut source, &mut options.open(to)?).map(drop)
            }
            Kind::Link { target } => symlink(target, to),
            Kind::Gone => Ok(()),
        }
    })
}
