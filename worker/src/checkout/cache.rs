//! Where trees are on the disk, and who holds them. Shared by all workers of a user: what protects
//! one from the other are file locks, which the kernel gives back when a process dies.
//!
//! ```text
//! contents/ab/abcd…   one file a content, read-only; abcd…x where it may be run
//! trees/<digest>/     manifest, and tree/ with hard links to contents; there whole or not at all
//! locks/<digest>      shared: the tree is in use; exclusive: it is built or removed
//! locks/contents      shared: contents are added; exclusive: those without a tree are removed
//! run/<id>/, <id>.lock   what one worker is at; swept by the next one when its lock is free
//! ```

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use a3s_shared::protocol::{Digest, Manifest, Token};
use parking_lot::Mutex;

/// How many manifests are kept in memory: reading one of many thousand paths takes a while.
const MANIFESTS: usize = 4;

/// The version of this layout; another one would not be understood.
const LAYOUT: &str = "1";

/// The directory.
#[derive(Debug)]
pub(super) struct Cache {
    dir: PathBuf,
    /// What contents may take, in bytes.
    pub(super) limit: u64,
    run: PathBuf,
    next: AtomicU64,
    manifests: Mutex<Vec<(Digest, Arc<Manifest>)>>,
    _running: File,
}

/// A tree that nobody removes while this exists.
#[derive(Debug)]
pub(super) struct TreeInUse {
    dir: PathBuf,
    digest: Digest,
    _lock: File,
}

impl TreeInUse {
    /// The files.
    pub(super) fn root(&self) -> PathBuf {
        self.dir.join("tree")
    }
}

/// A directory for one purpose; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    /// On a thread, because it may be large. When the process ends first, the next worker does it.
    fn drop(&mut self) {
        let path = std::mem::take(&mut self.0);
        let removal = std::thread::Builder::new().name("remove".to_owned());
        let _ = removal.spawn(move || remove(&path));
    }
}

/// Removes a directory, also where a command made parts of it read-only.
fn remove(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    fn open_up(dir: &Path) {
        let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open_up(&entry.path());
            }
        }
    }
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != ErrorKind::NotFound
    {
        open_up(path);
        if let Err(error) = fs::remove_dir_all(path) {
            tracing::warn!(path = %path.display(), %error, "a directory could not be removed");
        }
    }
}

impl Cache {
    /// Opens or makes it, and removes what dead workers left behind.
    pub(super) fn open(dir: &Path, limit: u64) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?.join(LAYOUT);
        for part in ["contents", "trees", "locks", "run"] {
            fs::create_dir_all(dir.join(part))?;
        }
        sweep(&dir.join("run"));
        let (run, running) = loop {
            let run = dir.join("run").join(Token::unique().to_string());
            let path = run.with_extension("lock");
            let lock = lock_file(&path)?;
            // Whoever sweeps may have it for a moment, and remove it.
            if take(lock.try_lock())? && path.exists() {
                break (run, lock);
            }
        };
        fs::create_dir(&run)?;
        Ok(Self {
            dir,
            limit,
            run,
            next: AtomicU64::new(0),
            manifests: Mutex::default(),
            _running: running,
        })
    }

    /// Where it is.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a content is, or will be.
    pub(super) fn content(&self, digest: &Digest, executable: bool) -> PathBuf {
        let name = digest.hex();
        let run = if executable { "x" } else { "" };
        self.contents()
            .join(&name[..2])
            .join(format!("{name}{run}"))
    }

    /// All contents.
    pub(super) fn contents(&self) -> PathBuf {
        self.dir.join("contents")
    }

    /// All trees.
    pub(super) fn trees(&self) -> PathBuf {
        self.dir.join("trees")
    }

    /// Where a tree is, or will be.
    pub(super) fn tree(&self, digest: &Digest) -> PathBuf {
        self.trees().join(digest.hex())
    }

    /// A new directory on the same filesystem.
    pub(super) fn scratch(&self) -> io::Result<Scratch> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.run.join(number.to_string());
        // With its parents: somebody may have emptied the cache.
        fs::create_dir_all(&path)?;
        Ok(Scratch(path))
    }

    /// The tree, if it is there; it counts as used now.
    pub(super) fn hold(&self, digest: Digest) -> io::Result<Option<TreeInUse>> {
        let lock = self.lock(&digest.hex())?;
        if !take(lock.try_lock_shared())? {
            return Ok(None);
        }
        let dir = self.tree(&digest);
        let manifest = match File::open(dir.join("manifest")) {
            Ok(manifest) => manifest,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        manifest.set_modified(SystemTime::now())?;
        Ok(Some(TreeInUse {
            dir,
            digest,
            _lock: lock,
        }))
    }

    /// The right to build a tree or to remove it, until the file is dropped; `None` while somebody
    /// else has it or uses the tree.
    pub(super) fn reserve(&self, digest: Digest) -> io::Result<Option<File>> {
        let lock = self.lock(&digest.hex())?;
        Ok(take(lock.try_lock())?.then_some(lock))
    }

    /// While the file is not dropped, no content is removed. Waits for a removal to end.
    pub(super) fn add_contents(&self) -> io::Result<File> {
        let lock = self.lock("contents")?;
        lock.lock_shared()?;
        Ok(lock)
    }

    /// While the file is not dropped, nobody adds contents; `None` while somebody does.
    pub(super) fn remove_contents(&self) -> io::Result<Option<File>> {
        let lock = self.lock("contents")?;
        Ok(take(lock.try_lock())?.then_some(lock))
    }

    fn lock(&self, name: &str) -> io::Result<File> {
        let locks = self.dir.join("locks");
        match lock_file(&locks.join(name)) {
            // Somebody emptied the cache.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::create_dir_all(&locks)?;
                fs::create_dir_all(self.trees())?;
                fs::create_dir_all(self.contents())?;
                lock_file(&locks.join(name))
            }
            opened => opened,
        }
    }

    /// The paths of a tree.
    pub(super) fn manifest(&self, tree: &TreeInUse) -> io::Result<Arc<Manifest>> {
        let known = {
            let manifests = self.manifests.lock();
            let found = manifests.iter().find(|(digest, _)| *digest == tree.digest);
            found.map(|(_, manifest)| Arc::clone(manifest))
        };
        if let Some(manifest) = known {
            return Ok(manifest);
        }
        let text = fs::read_to_string(tree.dir.join("manifest"))?;
        let manifest = Manifest::parse(&text);
        let manifest = Arc::new(manifest.map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?);
        let mut manifests = self.manifests.lock();
        manifests.truncate(MANIFESTS - 1);
        manifests.insert(0, (tree.digest, Arc::clone(&manifest)));
        Ok(manifest)
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

/// Whether a lock was to be had.
fn take(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes what workers were at that are dead: their locks are free.
fn sweep(run: &Path) {
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let lock = entry.path();
        if lock.extension().is_none_or(|extension| extension != "lock") {
            continue;
        }
        let dead = lock_file(&lock).is_ok_and(|file| {
            let free = file.try_lock().is_ok();
            if free {
                remove(&lock.with_extension(""));
                let _ = fs::remove_file(&lock);
            }
            free
        });
        if dead {
            tracing::info!(lock = %lock.display(), "removed what a dead worker had left");
        }
    }
}
