//! What `deploy/` ships, as it is shipped: the cluster's configuration really runs and loses a
//! server, the units and manifests are read by the tools that will read them.

mod cluster;
mod kubernetes;
mod load;
mod monitor;
mod nodes;
mod systemd;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that anything here may take on a busy machine.
const BOUND: Duration = Duration::from_secs(240);

/// A file or directory of `deploy/`.
fn shipped(path: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    top.join("deploy").join(path)
}

/// Whether `program` can be run. On a machine of CI it must be; elsewhere its test is left out,
/// and that is said.
///
/// # Panics
/// In CI, when it cannot.
fn is_there(program: &str, flag: &str) -> bool {
    let output = std::process::Command::new(program).arg(flag).output();
    let there = output.is_ok_and(|output| output.status.success());
    let ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(
        there || !ci,
        "{program} must be installed here, see .ci/run"
    );
    if !there {
        eprintln!("SKIPPED: what needs {program}, which is not installed");
    }
    there
}
