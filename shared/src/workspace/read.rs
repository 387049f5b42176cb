//! Reading a file that others may write to meanwhile, and knowing later whether it is the same.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use crate::protocol::Digest;

/// How often a file that changes while it is read is read again.
const READS: u32 = 4;

/// The clock by which the kernel stamps a file ticks every few milliseconds. What was written
/// within one tick has one stamp, whether before or after it was read.
const TICK_NS: i64 = 50_000_000;
/// Filesystems that keep whole seconds only tick every one or two of them.
const COARSE_TICK_NS: i64 = 2_000_000_000;
const SECOND_NS: i64 = 1_000_000_000;

/// What the filesystem says of a file: while it says the same, the content is the same, if the
/// stamp [is settled](Stamp::is_settled).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// In bytes.
    pub size: u64,
    /// Of the last write, as anybody may set it; nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Of the last change, which only the kernel sets; nanoseconds since 1970.
    pub ctime_ns: i64,
    /// Which file it is: another one may have been moved to its path.
    pub inode: u64,
    /// Whether its owner may run it.
    pub executable: bool,
}

impl Stamp {
    /// The stamp that a file has.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, rest: i64| seconds.saturating_mul(SECOND_NS).saturating_add(rest);
        Self {
            size: metadata.len(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            executable: metadata.mode() & 0o100 != 0,
        }
    }

    /// Whether a write after `read_ns` (when the file was read, nanoseconds since 1970) would have
    /// given the file another stamp. One that changed just before it was read may have been written
    /// again within the same tick: git calls such an entry racy, and reads it again, too. A stamp
    /// of the future (a file server whose clock is ahead) is never settled.
    #[must_use]
    pub fn is_settled(&self, read_ns: i64) -> bool {
        let tick = match self.ctime_ns % SECOND_NS {
            0 => COARSE_TICK_NS,
            _ => TICK_NS,
        };
        self.ctime_ns.saturating_add(tick) < read_ns
    }
}

/// This machine's time, in nanoseconds since 1970.
#[must_use]
pub fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory, a pipe or a device by now.
    #[error("{0} is no regular file")]
    NotAFile(PathBuf),
    /// Somebody writes to it without a pause.
    #[error("{0} changes while it is read: stop what writes to it, or ignore it in .gitignore")]
    Changing(PathBuf),
}

impl ReadError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Io { path, source }
    }
}

/// Opens a regular file, and neither what a symbolic link leads to nor a pipe that would wait.
///
/// # Errors
/// When it is none, or cannot be opened.
pub fn open(path: &Path) -> Result<File, ReadError> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let file = options.open(path).map_err(|e| ReadError::io(path, e))?;
    let metadata = file.metadata().map_err(|e| ReadError::io(path, e))?;
    if !metadata.is_file() {
        return Err(ReadError::NotAFile(path.to_owned()));
    }
    Ok(file)
}

/// The digest of a file's content, and the stamp that it had all the while.
///
/// # Errors
/// When it cannot be read, or changes each time it is.
pub fn digest(path: &Path) -> Result<(Stamp, Digest), ReadError> {
    for _ in 0..READS {
        let mut file = open(path)?;
        let stamp = |file: &File| file.metadata().map(|metadata| Stamp::of(&metadata));
        let read = (|| {
            let before = stamp(&file)?;
            let mut hasher = Sha256::new();
            let length = copy(&mut file, &mut hasher)?;
            let same = before == stamp(&file)? && before.size == length;
            Ok(same.then(|| (before, Digest::finish(hasher))))
        })();
        if let Some(found) = read.map_err(|e| ReadError::io(path, e))? {
            return Ok(found);
        }
    }
    Err(ReadError::Changing(path.to_owned()))
}

fn copy(file: &mut File, hasher: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(read) => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_settled_when_its_tick_is_over() {
        let stamp = |ctime_ns| Stamp {
            size: 1,
            mtime_ns: 1,
            ctime_ns,
            inode: 1,
            executable: false,
        };
        let read = 1_000 * SECOND_NS;
        assert!(!stamp(read - 10_000_001).is_settled(read), "the same tick");
        assert!(stamp(read - 60_000_001).is_settled(read));
        assert!(!stamp(read - SECOND_NS).is_settled(read), "whole seconds");
        assert!(stamp(read - 3 * SECOND_NS).is_settled(read));
        assert!(!stamp(read + 1).is_settled(read), "the future");
    }

    #[test]
    fn the_digest_is_that_of_the_content() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("file");
        std::fs::write(&path, "abc").expect("a file");
        let (stamp, found) = digest(&path).expect("it can be read");
        assert_eq!((stamp.size, found), (3, Digest::of(b"abc")));
    }

    #[test]
    fn a_link_and_a_directory_are_no_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).expect("a link");
        assert!(digest(&link).is_err());
        assert!(matches!(digest(dir.path()), Err(ReadError::NotAFile(_))));
    }
}
