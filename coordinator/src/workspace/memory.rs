//! What is remembered between two syncs, in the user's cache directory. All of it can be lost: then
//! the files are read, or sent, once more.
//!
//! Two texts: of a tree, the stamp and digest of each file; of a store, where the contents are and
//! how young its packs are.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use a3s_shared::protocol::{Digest, Places};
use a3s_shared::runtime::paths::cache_dir;
use a3s_shared::workspace::read::Stamp;

/// The first line of each text. Another one is that of another version, and is not read.
const VERSION: &str = "a3s-sync 1\n";

/// The files of a tree as they were when they were read.
#[derive(Debug, Default)]
pub(super) struct TreeMemory(HashMap<String, (Stamp, Digest)>);

/// What a store was told, or was seen to have.
#[derive(Debug, Default, Clone)]
pub(super) struct StoreMemory {
    /// Where contents are.
    pub(super) places: Places,
    /// When packs of texts were stored, in seconds since 1970.
    pub(super) texts: HashMap<Digest, u64>,
    /// Trees whose places are among these.
    pub(super) seen: HashSet<Digest>,
}

/// Where a memory is kept; `None` when there is no cache directory.
fn file(kind: &str, of: &str) -> Option<PathBuf> {
    let name = Digest::of(of.as_bytes()).hex();
    Some(cache_dir()?.join("sync").join(format!("{kind}-{name}")))
}

fn load(path: Option<&PathBuf>) -> Option<String> {
    let text = std::fs::read_to_string(path?).ok()?;
    text.starts_with(VERSION).then_some(text)
}

/// Replaces a memory. Readers see the old one or the new one; where it cannot be written, the next
/// sync is slower and nothing else.
fn save(path: Option<PathBuf>, text: &str) {
    let Some(path) = path else { return };
    let write = || {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(VERSION.as_bytes())?;
        file.write_all(text.as_bytes())?;
        file.persist(&path).map(drop).map_err(|e| e.error)
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "what a sync learnt was not kept");
    }
}

impl TreeMemory {
    /// What is remembered of the tree at `root`.
    pub(super) fn load(root: &Path) -> Self {
        let text = load(file("tree", &root.to_string_lossy()).as_ref());
        Self(text.map_or_else(HashMap::new, |text| {
            text.lines().skip(1).filter_map(read_file).collect()
        }))
    }

    /// The digest of a file that still has this stamp.
    pub(super) fn digest(&self, path: &str, stamp: &Stamp) -> Option<Digest> {
        let (known, digest) = self.0.get(path)?;
        (known == stamp).then_some(*digest)
    }

    /// Keeps these files. Those whose stamp is not settled are left out.
    pub(super) fn save<'a>(
        root: &Path,
        files: impl Iterator<Item = (&'a str, &'a Stamp, &'a Digest)>,
    ) {
        let mut text = String::new();
        for (path, stamp, digest) in files {
            // One that would be read back as two is read anew each time instead.
            if path.contains(['\n', '\r']) {
                continue;
            }
            let Stamp {
                size,
                mtime_ns,
                ctime_ns,
                inode,
                executable,
            } = stamp;
            let run = u8::from(*executable);
            let hex = digest.hex();
            // Into memory, so it succeeds.
            let _ = writeln!(
                text,
                "{hex} {size} {mtime_ns} {ctime_ns} {inode} {run} {path}"
            );
        }
        save(file("tree", &root.to_string_lossy()), &text);
    }
}

fn read_file(line: &str) -> Option<(String, (Stamp, Digest))> {
    let mut parts = line.splitn(7, ' ');
    let digest = parts.next()?.parse().ok()?;
    let stamp = Stamp {
        size: parts.next()?.parse().ok()?,
        mtime_ns: parts.next()?.parse().ok()?,
        ctime_ns: parts.next()?.parse().ok()?,
        inode: parts.next()?.parse().ok()?,
        executable: parts.next()? == "1",
    };
    Some((parts.next()?.to_owned(), (stamp, digest)))
}

impl StoreMemory {
    /// What is remembered of `store`.
    pub(super) fn load(store: &str) -> Self {
        let text = load(file("store", store).as_ref());
        text.and_then(|text| Self::read(&text)).unwrap_or_default()
    }

    fn read(text: &str) -> Option<Self> {
        let mut memory = Self::default();
        let mut places = String::with_capacity(text.len());
        for line in text.lines().skip(1) {
            if let Some(text) = line.strip_prefix("text ") {
                let (digest, at) = text.split_once(' ')?;
                memory.texts.insert(digest.parse().ok()?, at.parse().ok()?);
            } else if let Some(seen) = line.strip_prefix("seen ") {
                memory.seen.insert(seen.parse().ok()?);
            } else {
                places.push_str(line);
                places.push('\n');
            }
        }
        memory.places = Places::parse(&places).ok()?;
        Some(memory)
    }

    /// Keeps it.
    pub(super) fn save(&self, store: &str) {
        let mut text = String::new();
        for (digest, at) in &self.texts {
            let _ = writeln!(text, "text {digest} {at}");
        }
        for digest in &self.seen {
            let _ = writeln!(text, "seen {digest}");
        }
        text.extend(self.places.lines().map(|(line, _)| line));
        save(file("store", store), &text);
    }

    /// Forgets what `has` denies: packs that are gone or will soon be.
    pub(super) fn keep_only(&mut self, has: impl Fn(&Digest, u64) -> bool) {
        self.places
            .0
            .retain(|_, places| places.iter().all(|place| has(&place.pack, place.stored_s)));
        self.texts.retain(|digest, at| has(digest, *at));
    }
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::Place;

    use super::*;

    #[test]
    fn a_file_is_remembered_by_its_stamp() {
        let stamp = Stamp {
            size: 5,
            mtime_ns: -1,
            ctime_ns: 7,
            inode: 9,
            executable: true,
        };
        let hex = Digest::of(b"x").hex();
        let line = format!("{hex} 5 -1 7 9 1 a path/with  spaces");
        let (path, known) = read_file(&line).expect("a line");
        assert_eq!(path, "a path/with  spaces");
        let memory = TreeMemory(HashMap::from([(path.clone(), known)]));
        assert_eq!(memory.digest(&path, &stamp), Some(Digest::of(b"x")));
        let touched = Stamp {
            ctime_ns: 8,
            ..stamp
        };
        assert_eq!(memory.digest(&path, &touched), None);
        assert!(read_file("half a line").is_none());
    }

    #[test]
    fn what_is_gone_from_the_store_is_forgotten() {
        let place = |pack: &[u8], stored_s| Place {
            pack: Digest::of(pack),
            offset: 0,
            length: 1,
            stored_s,
        };
        let mut memory = StoreMemory::default();
        let both = vec![place(b"p", 10), place(b"q", 10)];
        memory.places.0.insert(Digest::of(b"two"), both);
        memory
            .places
            .0
            .insert(Digest::of(b"one"), vec![place(b"p", 10)]);
        memory.texts.insert(Digest::of(b"old"), 1);
        memory.keep_only(|pack, at| *pack != Digest::of(b"q") && at > 5);
        let left: Vec<_> = memory.places.0.keys().copied().collect();
        assert_eq!(left, [Digest::of(b"one")]);
        assert!(memory.texts.is_empty());
    }
}
