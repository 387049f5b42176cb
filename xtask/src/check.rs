//! `cargo xtask check`: what must hold before a test is worth running.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{self, cargo, is_there};

/// Runs all checks; the first that fails ends the recipe.
pub(crate) fn run() -> Result<()> {
    step::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    step::run(&mut cargo(&clippy))?;
    let mut doc = cargo(&["doc", "--workspace", "--no-deps", "--quiet"]);
    step::run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
    deny(cargo)
}

/// Licenses, import rules and sources, as deny.toml has them. Advisories are left out: their
/// database changes daily, and a check must not fail for what nobody here did. `cargo` is a cargo
/// command in the workspace that is checked.
pub(crate) fn deny(cargo: impl Fn(&[&str]) -> Command) -> Result<()> {
    if is_there("cargo-deny", "--version") {
        let check = [
            "deny",
            "--all-features",
            "check",
            "--allow",
            "unused-wrapper",
        ];
        return step::run(cargo(&check).args(["bans", "licenses", "sources"]));
    }
    if env::var("CI").is_ok_and(|ci| ci == "true") {
        bail!("cargo-deny is missing; install it with `cargo install --locked cargo-deny`");
    }
    eprintln!(
        "SKIPPED: licenses and import rules (deny.toml); `cargo install --locked cargo-deny` enables them"
    );
    Ok(())
}
