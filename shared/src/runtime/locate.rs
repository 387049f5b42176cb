//! Finds a nats-server binary that is good enough.
//!
//! In this order: `A3S_NATS_SERVER`, `PATH`, and what `cargo xtask nats` put into the user's
//! cache. A binary of a refused version is passed over, and named when nothing better is found.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::paths;
use super::version::{self, RECOMMENDED, Version};

/// The environment variable that names the binary to use.
pub const BINARY_VARIABLE: &str = "A3S_NATS_SERVER";

/// A nats-server binary and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// Where it is.
    pub path: PathBuf,
    /// What it says about itself.
    pub version: Version,
}

/// No binary is good enough.
#[derive(Debug, thiserror::Error)]
#[error(
    "no usable nats-server found{}; get {RECOMMENDED} with `cargo xtask nats`, install one from \
     https://nats.io/download, or name one in {BINARY_VARIABLE}",
    passed_over(.rejected)
)]
pub struct LocateError {
    /// Each binary that was passed over, and why.
    pub rejected: Vec<(PathBuf, String)>,
}

/// Finds the binary to start an embedded server with.
///
/// # Errors
/// When there is none, or only refused ones: the error names each and the way out.
pub fn locate() -> Result<Binary, LocateError> {
    choose(candidates())
}

/// Where `cargo xtask nats` puts its binary. `None` without a home directory.
#[must_use]
pub fn cached_path() -> Option<PathBuf> {
    let folder = format!("nats-server-{RECOMMENDED}");
    Some(paths::cache_dir()?.join(folder).join("nats-server"))
}

fn candidates() -> Vec<PathBuf> {
    if let Some(named) = std::env::var_os(BINARY_VARIABLE).filter(|name| !name.is_empty()) {
        // Who names a binary wants that one: nothing else is tried, so that a typing error shows.
        return vec![named.into()];
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
    on_path
        .chain(cached_path())
        .filter(|path| path.is_file())
        .collect()
}

fn choose(candidates: Vec<PathBuf>) -> Result<Binary, LocateError> {
    let mut rejected = Vec::new();
    for path in candidates {
        match probe(&path) {
            Ok(version) => return Ok(Binary { path, version }),
            Err(reason) => rejected.push((path, reason)),
        }
    }
    Err(LocateError { rejected })
}

/// Asks a binary for its version.
fn probe(path: &Path) -> Result<Version, String> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot be started: {error}"))?;
    version::accept(&String::from_utf8_lossy(&output.stdout)).map_err(|error| error.to_string())
}

fn passed_over(rejected: &[(PathBuf, String)]) -> String {
    let each = rejected
        .iter()
        .map(|(path, why)| format!(" ({}: {why})", path.display()));
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by a shell: a file that this process had open for writing could not be started
    /// while another test's child, between fork and exec, still held it.
    fn fake(dir: &Path, name: &str, version: &str) -> PathBuf {
        let path = dir.join(name);
        let write =
            format!("printf '#!/bin/sh\\necho nats-server: v{version}\\n' >$0 && chmod +x $0");
        let written = Command::new("sh").arg("-c").arg(write).arg(&path).status();
        assert!(written.expect("there is a shell").success());
        path
    }

    #[test]
    fn a_refused_version_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = fake(dir.path(), "old", "2.10.1");
        let new = fake(dir.path(), "new", "2.15.1");
        let chosen = choose(vec![old, new.clone()]).expect("the second is good");
        assert_eq!((chosen.path, chosen.version), (new, RECOMMENDED));
    }

    #[test]
    fn the_error_names_what_was_passed_over_and_the_way_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = fake(dir.path(), "old", "2.14.0");
        let missing = dir.path().join("missing");
        let error = choose(vec![old, missing])
            .expect_err("neither is good")
            .to_string();
        for part in [
            "2.14.0 is refused",
            "missing: cannot be started",
            "cargo xtask nats",
        ] {
            assert!(error.contains(part), "{error} lacks {part}");
        }
    }
}
