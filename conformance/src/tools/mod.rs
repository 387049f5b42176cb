//! The tools of `docs/conformance.md` for the Rust worker, one line of its table each.

mod count;
mod plain;
mod retry;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use a3s_worker::registry::Registry;

/// All tools of the contract.
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.add(plain::Echo);
    registry.add(plain::Sleep);
    registry.add(plain::Fail);
    registry.add(plain::Throw);
    registry.add(plain::Reject);
    registry.add(plain::Blob);
    registry.add(plain::Progress);
    registry.add(count::Count);
    registry.add(retry::Retry);
    registry
}

/// Appends a line by one write, so that two processes do not mix, and sees it onto the disk.
///
/// # Errors
/// When the file cannot be written.
pub fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}
