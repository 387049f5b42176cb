//! `cargo xtask test`: everything, against a real nats-server.

use anyhow::Result;

use crate::nats;
use crate::step::{self, cargo, is_there};

/// Programs without which some tests skip themselves: name, how to ask, what is not tested.
const OPTIONAL: [(&str, &str, &str); 6] = [
    (
        "nats",
        "--version",
        "docs/observing.md against the nats CLI",
    ),
    ("rg", "--version", "search against ripgrep"),
    ("docker", "--version", "compose.yaml"),
    ("docker-compose", "--version", "compose.yaml"),
    ("systemd-analyze", "--version", "deploy/systemd"),
    ("go", "version", "deploy/kubernetes"),
];

/// Gets what the tests need, builds the programs they start, and runs them.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    let server = nats::ensure()?;
    for (program, flag, untested) in OPTIONAL {
        if !is_there(program, flag) {
            eprintln!("SKIPPED: {untested}, because {program} is not installed");
        }
    }
    step::run(&mut cargo(&["build", "--workspace", "--bins", "--quiet"]))?;
    let mut tests = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if !filters.is_empty() {
        tests.arg("--").args(filters);
    }
    // The tests need not ask cargo again, nor look for a server.
    step::run(
        tests
            .env("A3S_BINARIES_BUILT", "1")
            .env("A3S_NATS_SERVER", server),
    )
}
