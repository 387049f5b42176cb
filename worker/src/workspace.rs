//! The directory that tools may touch, and the only door to it.
//!
//! Every operation goes through a directory handle that the kernel holds to its tree
//! (`openat2` with `RESOLVE_BENEATH` on Linux), so a symbolic link that is swapped between a
//! check and a use leads nowhere either. A symbolic link with an absolute target counts as
//! leaving, also when the target is inside: a handle has no way to tell.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileType, Metadata, OpenOptions, OpenOptionsExt};

use crate::policy::{Paths, Refusal, Rule};
use crate::reach::Reach;

/// A directory; every path of a task is inside it.
#[derive(Debug)]
pub struct Workspace {
    /// As it was named, absolute: tasks may use this spelling.
    named: PathBuf,
    /// Without symbolic links.
    root: PathBuf,
    dir: Dir,
    readable: Reach,
    writable: Reach,
    /// Others see it too, so nothing in it is written.
    read_only: bool,
}

/// A path below a workspace's root that does not leave it by its spelling. Whether it leaves by
/// a symbolic link is found out when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelPath {
    /// As the task spelt it, for messages and for output.
    shown: String,
    relative: PathBuf,
}

impl RelPath {
    /// As the task spelt it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

/// What stands in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, not its path.
    pub name: OsString,
    /// `file`, `dir`, `symlink` or `other`.
    pub kind: &'static str,
    /// In bytes; of the link itself for a symbolic link.
    pub size: u64,
}

/// Why a path could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It leads out of the workspace, by its spelling or by a symbolic link.
    #[error("{path} leads out of the workspace {root}; use a path inside it")]
    Outside {
        /// As the task spelt it.
        path: String,
        /// The workspace's root.
        root: PathBuf,
    },
    /// It is inside, and the system refused what was asked.
    #[error("{path}: {source}")]
    Io {
        /// As the task spelt it.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device where a file is needed.
    #[error("{path} is {kind}, not a file")]
    NotAFile {
        /// As the task spelt it.
        path: String,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// It is inside, and the worker's policy does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Workspace {
    /// Opens `root`.
    ///
    /// # Errors
    /// When it does not exist or is no directory.
    pub fn open(root: &Path) -> io::Result<Self> {
        let canonical = root.canonicalize()?;
        Ok(Self {
            named: std::path::absolute(root)?,
            dir: Dir::open_ambient_dir(&canonical, ambient_authority())?,
            root: canonical,
            readable: Reach::whole(Rule::PathsRead),
            writable: Reach::whole(Rule::PathsWrite),
            read_only: false,
        })
    }

    /// Opens `root`, and refuses to write in it.
    ///
    /// # Errors
    /// As [`Workspace::open`].
    pub fn open_read_only(root: &Path) -> io::Result<Self> {
        Ok(Self {
            read_only: true,
            ..Self::open(root)?
        })
    }

    /// The same workspace, of which only what `paths` allows can be used.
    ///
    /// # Errors
    /// When one of the roots inside is there and cannot be opened as a directory.
    pub fn allowing(mut self, paths: &Paths) -> io::Result<Self> {
        let (readable, writable) = (paths.readable(&self.root), paths.writable(&self.root));
        self.readable = Reach::open(Rule::PathsRead, &self.dir, readable)?;
        self.writable = Reach::open(Rule::PathsWrite, &self.dir, writable)?;
        Ok(self)
    }

    /// Its absolute path.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path that a task means by `path`: relative to the root, or absolute and inside it.
    /// Empty is the root.
    ///
    /// # Errors
    /// [`PathError::Outside`] when its spelling leaves the root.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<RelPath, PathError> {
        let given = path.as_ref();
        let shown = given.to_string_lossy().into_owned();
        let inside = || {
            let inside = given.strip_prefix(&self.root);
            inside.or_else(|_| given.strip_prefix(&self.named)).ok()
        };
        let relative = match given.is_absolute() {
            true => inside().unwrap_or(given),
            false => given,
        };
        if !stays_inside(relative) {
            return Err(self.outside(&shown));
        }
        let relative = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        Ok(RelPath {
            shown,
            relative: relative.to_owned(),
        })
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// When it is missing, no regular file, or outside.
    pub fn open_file(&self, path: &RelPath) -> Result<File, PathError> {
        self.open_sized(path).map(|(file, _)| file)
    }

    /// As [`Workspace::open_file`], with the size that the file has, in bytes.
    pub(crate) fn open_sized(&self, path: &RelPath) -> Result<(File, u64), PathError> {
        // Without O_NONBLOCK, a named pipe would hold the thread until somebody writes to it.
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(nonblocking);
        let (dir, relative) = self.place(path, &self.readable)?;
        let file = dir.open_with(&relative, &options);
        let file = file.map_err(|e| self.error(path, e))?.into_std();
        let metadata = file.metadata().map_err(|e| self.error(path, e))?;
        let kind = metadata.file_type();
        if kind.is_file() {
            return Ok((file, metadata.len()));
        }
        let kind = if kind.is_dir() {
            "a directory"
        } else {
            "a pipe or device"
        };
        Err(PathError::NotAFile {
            path: path.shown.clone(),
            kind,
        })
    }

    /// Writes a file whole: who reads it sees the old content or the new, never a part. Missing
    /// parent directories are made; mode and place (through a symbolic link) of an existing file
    /// are kept.
    ///
    /// # Errors
    /// When it is outside, a directory, read-only, or the system refuses; always where the whole
    /// workspace is read-only.
    pub fn write(&self, path: &RelPath, content: &[u8]) -> Result<(), PathError> {
        if self.read_only {
            let text = "the workspace is read-only: submit what writes to the execute lane";
            let error = io::Error::new(io::ErrorKind::PermissionDenied, text);
            return Err(self.error(path, error));
        }
        let (dir, relative) = self.place(path, &self.writable)?;
        replace(dir, &relative, content).map_err(|e| self.error(path, e))
    }

    /// What stands in a directory, sorted by name.
    ///
    /// # Errors
    /// When it is missing, no directory, or outside.
    pub fn read_dir(&self, path: &RelPath) -> Result<Vec<Entry>, PathError> {
        let (dir, relative) = self.place(path, &self.readable)?;
        let list = || -> io::Result<Vec<Entry>> {
            let entries = dir.read_dir(&relative)?;
            entries.map(|e| e.and_then(|e| entry(&e))).collect()
        };
        let mut entries = list().map_err(|e| self.error(path, e))?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The absolute path without symbolic links, for libraries that walk by path. What they find
    /// is opened with [`Workspace::open_file`] again, so that a race cannot reach content outside.
    ///
    /// # Errors
    /// When it is missing or outside.
    pub fn real_path(&self, path: &RelPath) -> Result<PathBuf, PathError> {
        let inside = self.dir.canonicalize(&path.relative);
        let inside = inside.map_err(|e| self.error(path, e))?;
        if !self.readable.covers(&inside) {
            return Err(refused(path, &self.readable));
        }
        Ok(self.root.join(inside).components().collect())
    }

    /// Where an operation within `reach` begins.
    fn place<'a>(
        &'a self,
        path: &'a RelPath,
        reach: &'a Reach,
    ) -> Result<(&'a Dir, Cow<'a, Path>), PathError> {
        let place = reach.place(&self.dir, &path.relative);
        let place = place.map_err(|e| self.error(path, e))?;
        place.ok_or_else(|| refused(path, reach))
    }

    fn error(&self, path: &RelPath, source: io::Error) -> PathError {
        // cap-std reports an escape as an error of its own making; one of the system has a code.
        let made = source.raw_os_error().is_none();
        let escape = made && source.to_string().contains("outside of the filesystem");
        if escape {
            return self.outside(&path.shown);
        }
        PathError::Io {
            path: path.shown.clone(),
            source,
        }
    }

    fn outside(&self, path: &str) -> PathError {
        PathError::Outside {
            path: path.to_owned(),
            root: self.root.clone(),
        }
    }
}

fn refused(path: &RelPath, reach: &Reach) -> PathError {
    let why = format!("{:?} is not below {}", path.shown, reach.told());
    Refusal::new(reach.rule, why).into()
}

fn replace(dir: &Dir, path: &Path, content: &[u8]) -> io::Result<()> {
    let target = match dir.canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => path.to_owned(),
        found => found?,
    };
    let old = dir.metadata(&target).ok();
    if old.as_ref().is_some_and(|m| m.permissions().readonly()) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "is read-only",
        ));
    }
    if let Some(parent) = target.parent().filter(|p| !p.as_os_str().is_empty()) {
        dir.create_dir_all(parent)?;
    }
    let temporary = temporary_beside(&target);
    let moved = fill(dir, &temporary, content, old.as_ref())
        .and_then(|()| dir.rename(&temporary, dir, &target));
    if moved.is_err() {
        let _ = dir.remove_file(&temporary);
    }
    moved
}

fn fill(dir: &Dir, file: &Path, content: &[u8], like: Option<&Metadata>) -> io::Result<()> {
    dir.write(file, content)?;
    like.map_or(Ok(()), |m| dir.set_permissions(file, m.permissions()))
}

/// Whether no prefix of `path` is above its start.
fn stays_inside(path: &Path) -> bool {
    // Most paths need no closer look: a search asks this for each of its files.
    let climbs = path
        .as_os_str()
        .as_bytes()
        .windows(2)
        .any(|two| two == b"..");
    if path.is_relative() && !climbs {
        return true;
    }
    let mut depth = 0_i32;
    path.components().all(|component| {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        depth >= 0
    })
}

/// A name that no other write uses, in the same directory, so that the rename is atomic.
fn temporary_beside(target: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    target.with_file_name(format!(".a3s-write-{process}-{number}"))
}

fn entry(entry: &cap_std::fs::DirEntry) -> io::Result<Entry> {
    let metadata = entry.metadata()?;
    Ok(Entry {
        name: entry.file_name(),
        kind: kind_of(metadata.file_type()),
        size: metadata.len(),
    })
}

fn kind_of(kind: FileType) -> &'static str {
    if kind.is_file() {
        "file"
    } else if kind.is_dir() {
        "dir"
    } else if kind.is_symlink() {
        "symlink"
    } else {
        "other"
    }
}

#[cfg(test)]
#[path = "workspace_tests.rs"]
mod tests;
