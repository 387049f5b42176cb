//! `cargo xtask bridge`: the bridge to A3S Code, checked and tested.
//!
//! Apart from `check` and `test`: it is a workspace of its own with hundreds of crates, and who
//! works on the rest does not need it.

use std::process::Command;

use anyhow::Result;

use crate::step::{self, cargo, workspace};
use crate::{check, nats};

/// Where it is.
const BRIDGE: &str = "bridges/a3s-code";

/// Builds the workers that its tests start, and runs all its checks and tests.
pub(crate) fn run() -> Result<()> {
    let server = nats::ensure()?;
    let workers = ["build", "--package", "a3s-worker", "--bins", "--quiet"];
    step::run(&mut cargo(&workers))?;
    step::run(&mut in_bridge(&["fmt", "--check"]))?;
    check::deny(in_bridge)?;
    let clippy = ["clippy", "--all-targets", "--quiet", "--", "-D", "warnings"];
    step::run(&mut in_bridge(&clippy))?;
    let mut doc = in_bridge(&["doc", "--no-deps", "--quiet"]);
    step::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    let mut tests = in_bridge(&["test", "--no-fail-fast"]);
    step::run(
        tests
            .env("A3S_BIN_DIR", workspace().join("target/debug"))
            .env("A3S_NATS_SERVER", server),
    )
}

/// A cargo command there; what it builds goes below our own target directory.
fn in_bridge(arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    command.current_dir(workspace().join(BRIDGE));
    command
}
