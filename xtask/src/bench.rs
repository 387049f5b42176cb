//! `cargo xtask bench`: builds what is measured as users would, and starts the bench.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::nats;
use crate::step::{self, cargo};

/// The bench.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// What the bench is told: --quick, --json, --only NAME, --rounds N, …; --help lists it all
    ///
    /// With --peers, not the floor but what users would otherwise pick is run beside the product
    /// (bench/peers), and told the rest: --only NAME, --rounds N, --seconds S, --in-flight N,N.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS"
    )]
    options: Vec<String>,
}

/// Builds and measures.
///
/// # Errors
/// When something cannot be built or started, or when a task was lost or answered twice.
pub(crate) fn run(bench: &Bench) -> Result<()> {
    let server = nats::ensure()?;
    let programs = ["a3s-bench", "a3s-coordinator", "a3s-worker"];
    let mut build = cargo(&["build", "--release", "--bins"]);
    step::run(build.args(programs.iter().flat_map(|name| ["--package", name])))?;
    let (peers, told): (Vec<_>, Vec<_>) = bench.options.iter().partition(|o| *o == "--peers");
    if !peers.is_empty() {
        return beside_peers(&server, &told);
    }
    let mut start = cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "a3s-bench",
        "--",
    ]);
    start.arg("run").args(&bench.options);
    step::run(start.env("A3S_NATS_SERVER", server))
}

/// Runs the product and its peers in turn.
fn beside_peers(server: &Path, told: &[&String]) -> Result<()> {
    let top = step::workspace();
    let built = match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => dir.into(),
        None => top.join("target"),
    };
    let mut start = Command::new("python3");
    start.arg(top.join("bench/peers/run")).args(told);
    start.env("A3S_BIN_DIR", built.join("release").canonicalize()?);
    step::run(start.env("A3S_NATS_SERVER", server))
}
