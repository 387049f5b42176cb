//! Finds the programs of this workspace, built from the sources as they are now.

use std::collections::HashMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

/// Set by `cargo xtask test`, which has built everything already.
const ALREADY_BUILT: &str = "A3S_BINARIES_BUILT";

/// Programs that this process has built. Cargo alone knows whether one is up to date, so it is
/// asked, but once.
static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);

/// The path of a program of this workspace, such as `a3s-worker` (the name of its package too).
/// Built on first use, with the profile of the running test.
///
/// # Panics
/// When it cannot be built.
pub fn binary(name: &str) -> PathBuf {
    let mut built = BUILT.lock().expect("no other test panicked while building");
    if let Some(path) = built.get(name) {
        return path.clone();
    }
    let profile_dir = profile_dir();
    let path = profile_dir.join(name);
    if env::var_os(ALREADY_BUILT).is_none() || !path.is_file() {
        build(name, &profile_dir);
    }
    built.insert(name.to_owned(), path.clone());
    path
}

/// `target/debug` or `target/release`: where the running test is, two directories up.
fn profile_dir() -> PathBuf {
    let test = env::current_exe().expect("the test knows its own path");
    let mut dirs = test.ancestors().skip(1);
    let dir = dirs.find(|dir| !dir.ends_with("deps") && !dir.ends_with("examples"));
    dir.expect("a test is built below the target directory")
        .to_owned()
}

fn build(name: &str, profile_dir: &Path) {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", name, "--bin", name]);
    if let Some(target) = profile_dir.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let status = cargo.current_dir(workspace).status();
    let status = status.unwrap_or_else(|error| panic!("cannot run cargo to build {name}: {error}"));
    assert!(status.success(), "{name} was not built: {status}");
}
