//! What a task did to its copy of a tree, and its way back to the caller.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use a3s_shared::broker::{Broker, BrokerError, TreeKind};
use a3s_shared::protocol::{BadManifest, Digest, Entry, Kind, Manifest, Returned, TreeHead, clock};
use a3s_shared::workspace::read::{self, ReadError};
use a3s_shared::workspace::send::{self, SendError, Source};
use a3s_shared::workspace::text;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::joined;
use super::private::Private;

/// The most bytes that return from one task.
const MAX_RETURNED: u64 = 256 * 1024 * 1024;

/// Why nothing returns.
#[derive(Debug, thiserror::Error)]
pub(super) enum ChangesError {
    /// A glob that is none.
    #[error(transparent)]
    Glob(#[from] globset::Error),
    /// A directory that cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file that cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A path that cannot be sent.
    #[error(transparent)]
    Manifest(#[from] BadManifest),
    /// More than anybody wants.
    #[error("{0} bytes are more than the 256 MiB that may return: use a narrower glob")]
    TooMuch(u64),
    /// A content could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The broker refused it.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Stores what was changed in `private` and matches one of `globs`.
pub(super) async fn send(
    broker: &Broker,
    private: &Private,
    globs: &[String],
    by: &str,
) -> Result<Returned, ChangesError> {
    let globs = globset(globs)?;
    let (root, base) = (private.root().to_owned(), private.manifest.clone());
    let find = move || find(&root, &base, &globs);
    let (manifest, sources) = joined(tokio::task::spawn_blocking(find).await)?;
    let bytes = manifest.bytes();
    if bytes > MAX_RETURNED {
        return Err(ChangesError::TooMuch(bytes));
    }
    let sent = send::send(broker, sources, |_| ()).await?;
    let digest = Digest::of(manifest.text().as_bytes());
    let lines = manifest.lines().collect();
    let manifest_text = text::send(broker, lines, |_| false).await?;
    let places = text::send(broker, sent.places.lines().collect(), |_| false).await?;
    let entries = manifest.entries();
    let gone = entries.iter().filter(|entry| entry.kind == Kind::Gone);
    let deleted = gone.count() as u64;
    let returned = Returned {
        digest,
        files: entries.len() as u64 - deleted,
        deleted,
        bytes,
    };
    let head = TreeHead {
        files: entries.len() as u64,
        bytes,
        at_ms: clock::now_ms(),
        by: by.to_owned(),
        root: String::new(),
        manifest: manifest_text.pieces,
        places: places.pieces,
    };
    broker.put_tree(TreeKind::Changes, &digest, &head).await?;
    Ok(returned)
}

fn globset(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build()
}

/// The changes, and where their contents are.
pub(super) fn find(
    root: &Path,
    base: &Manifest,
    globs: &GlobSet,
) -> Result<(Manifest, Vec<Source>), ChangesError> {
    let mut seen = BTreeSet::new();
    let (mut entries, mut sources) = (Vec::new(), Vec::new());
    let mut contents = HashSet::new();
    walk(root, "", &mut |path, entry| {
        if !globs.is_match(path) {
            return Ok(());
        }
        let Some(kind) = kind_of(entry)? else {
            return Ok(());
        };
        seen.insert(path.to_owned());
        if base.get(path) == Some(&kind) {
            return Ok(());
        }
        let path = path.to_owned();
        let changed = Entry { path, kind };
        // A link that leads out says nothing to anybody else.
        if changed.check().is_err() {
            return Ok(());
        }
        if let Kind::File { digest, size, .. } = &changed.kind
            && contents.insert(*digest)
        {
            sources.push(Source {
                digest: *digest,
                size: *size,
                path: entry.path(),
            });
        }
        entries.push(changed);
        Ok(())
    })?;
    let missing = base
        .entries()
        .iter()
        .filter(|entry| globs.is_match(&entry.path) && !seen.contains(&entry.path));
    entries.extend(missing.map(|entry| Entry {
        path: entry.path.clone(),
        kind: Kind::Gone,
    }));
    Ok((Manifest::new(entries)?, sources))
}

/// What stands there; `None` for what does not return: pipes, sockets, what is gone again.
fn kind_of(entry: &fs::DirEntry) -> Result<Option<Kind>, ChangesError> {
    if entry.file_type()?.is_symlink() {
        let target = fs::read_link(entry.path())?;
        let target = target.to_str().map(str::to_owned);
        return Ok(target.map(|target| Kind::Link { target }));
    }
    match read::digest(&entry.path()) {
        Ok((stamp, digest)) => Ok(Some(Kind::File {
            digest,
            size: stamp.size,
            executable: stamp.executable,
        })),
        Err(ReadError::NotAFile(_)) => Ok(None),
        Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

type Visit<'a> = dyn FnMut(&str, &fs::DirEntry) -> Result<(), ChangesError> + 'a;

/// Visits everything but directories. Names that are no UTF-8 cannot be sent and are passed over.
fn walk(dir: &Path, prefix: &str, visit: &mut Visit<'_>) -> Result<(), ChangesError> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}/{name}"),
        };
        match entry.file_type()?.is_dir() {
            true => walk(&entry.path(), &path, visit)?,
            false => visit(&path, &entry)?,
        }
    }
    Ok(())
}
