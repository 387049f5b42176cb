//! `cargo xtask bench`: builds what is measured as users would, and starts the bench.

use anyhow::Result;

use crate::nats;
use crate::step::{self, cargo};

/// The bench.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// What the bench is told: --quick, --json, --only NAME, --rounds N, …; --help lists it all
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
