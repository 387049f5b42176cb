//! Runs the tests that are written in other languages, on a server of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use a3s_shared::runtime::locate::locate;
use a3s_testkit::{Process, ProcessBuilder, Server, binary};

use crate::BOUND;

/// Whether a program that the tests need is missing. In CI it must not be.
pub(crate) fn is_missing(program: &str, arguments: &[&str]) -> bool {
    let there = Command::new(program).args(arguments).output();
    let there = there.is_ok_and(|output| output.status.success());
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(
        there || !ci,
        "{program} {arguments:?} fails: it is not installed"
    );
    if !there {
        eprintln!("SKIPPED: the tests in e2e/mcp, because {program} {arguments:?} fails");
    }
    !there
}

/// The tests with the Python SDK.
pub(crate) async fn python(tests: &Path) {
    let venv = tests.join(".venv");
    let pip = venv.join("bin/pip");
    if !pip.exists() {
        let make = Process::at("python3").args(["-m", "venv"]).arg(&venv);
        finish(make).await;
    }
    let install =
        Process::at(pip).args(["install", "--quiet", "--requirement", "requirements.txt"]);
    finish(install.current_dir(tests)).await;
    let pytest = Process::at(venv.join("bin/pytest")).args(["-q", "--durations=5"]);
    run(pytest.current_dir(tests)).await;
}

/// The tests with the TypeScript SDK.
pub(crate) async fn node(tests: &Path) {
    let install = Process::at("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]);
    finish(install.current_dir(tests)).await;
    let test = Process::at("npm").args(["test", "--silent"]);
    run(test.current_dir(tests)).await;
}

/// Runs a suite, which finds a server and our programs.
async fn run(suite: ProcessBuilder) {
    // Each test has streams of its own, and every stream reserves its limit.
    let store = tempfile::tempdir().expect("a temporary directory");
    let path = store.path();
    let config = format!("jetstream {{ store_dir: {path:?}, max_file_store: 10TB }}");
    let server = Server::builder().without_jetstream().config(&config);
    let server = server.start().await;
    let programs = binary("a3s-worker");
    let programs = programs.parent().map_or_else(PathBuf::new, PathBuf::from);
    assert_eq!(binary("a3s-coordinator").parent(), Some(programs.as_path()));
    let nats = locate().expect("the testkit has started one").path;
    let suite = suite
        .env("NATS_URL", server.url())
        .env("A3S_BIN_DIR", &programs)
        .env("A3S_NATS_SERVER", nats);
    finish(suite).await;
}

async fn finish(process: ProcessBuilder) {
    let mut process = process.start();
    drop(process.stdin());
    let status = process.wait(BOUND).await;
    println!("{}", process.stdout());
    assert!(status.success(), "{status}\n{}", process.stderr());
}
