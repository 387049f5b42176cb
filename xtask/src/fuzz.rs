//! `cargo xtask fuzz`: throws bytes at everything that is read from the wire, for a while.
//!
//! The targets in `shared/fuzz` are those of cargo-fuzz and can be run with it for hours. A short
//! run needs neither cargo-fuzz nor a nightly compiler: libFuzzer comes with the targets, and the
//! instrumentation that leads it is an option of the stable one.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::step::{self, cargo, is_there, workspace};

/// What cargo-fuzz gives the compiler with `--sanitizer none`.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The longest input, in bytes: enough for any mistake that does not need size.
const MAX_LENGTH: usize = 4096;

/// Memory above which an input counts as a failure, in MiB.
const MAX_MEMORY: usize = 512;

/// Each target, in the order in which they run.
const TARGETS: [&str; 4] = ["bodies", "headers", "subjects", "trees"];

/// What is typed after `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// How long all targets together may run
    #[arg(long, default_value_t = 24, value_name = "N")]
    seconds: u64,
}

/// Builds the targets and runs each for its share of the time.
pub(crate) fn run(fuzz: &Fuzz) -> Result<()> {
    ensure!(
        is_there("c++", "--version"),
        "no C++ compiler, which libFuzzer needs: install g++ or clang"
    );
    let root = workspace();
    let host = host()?;
    let target_dir = root.join("target/fuzz");
    // Naming the host as a target keeps the instrumentation out of build scripts.
    let mut build = cargo(&["build", "--quiet", "--bins", "--target", &host]);
    build
        .args(["--manifest-path", "shared/fuzz/Cargo.toml", "--target-dir"])
        .arg(&target_dir)
        .env("RUSTFLAGS", INSTRUMENTED);
    step::run(&mut build)?;
    let share = fuzz.seconds.div_ceil(TARGETS.len() as u64).max(1);
    for target in TARGETS {
        let corpus = target_dir.join("corpus").join(target);
        let found = target_dir.join("found").join(target);
        for dir in [&corpus, &found] {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        if target == "bodies" {
            sow(&corpus)?;
        }
        let mut run = Command::new(target_dir.join(&host).join("debug").join(target));
        run.arg(format!("-max_total_time={share}"))
            .arg(format!("-max_len={MAX_LENGTH}"))
            .arg(format!("-rss_limit_mb={MAX_MEMORY}"))
            .arg("-timeout=10")
            .arg("-print_final_stats=1")
            .arg("-verbosity=0")
            // What breaks a target is kept here; run the target with the file to see it again.
            .arg(format!("-artifact_prefix={}/", found.display()))
            .arg(&corpus);
        step::run(&mut run)?;
    }
    Ok(())
}

/// The golden bodies of the wire, each as every kind of body, are what the bodies grow from.
fn sow(corpus: &std::path::Path) -> Result<()> {
    let fixtures = workspace().join("shared/fixtures");
    let listed = fs::read_dir(&fixtures).with_context(|| format!("{}", fixtures.display()))?;
    for entry in listed {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !path.is_file() || name.ends_with(".md") {
            continue;
        }
        let body = fs::read(&path)?;
        for kind in 0..8_u8 {
            fs::write(
                corpus.join(format!("{kind}-{name}")),
                [&[kind], &body[..]].concat(),
            )?;
        }
    }
    Ok(())
}

/// The triple of this machine, as the compiler names it.
fn host() -> Result<String> {
    let said = Command::new("rustc")
        .args(["--print", "host-tuple"])
        .output();
    let said = said.context("cannot run rustc")?;
    let host = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    ensure!(
        said.status.success() && !host.is_empty(),
        "rustc does not say its host"
    );
    Ok(host)
}
