//! `cargo xtask demo`: a fleet searches a real source tree, and so does one worker; the outputs
//! must be the same.
//!
//! The tree is the one that is there anyway: the sources of this project's dependencies. Nothing
//! is left running, and nothing is left on the disk but what was built.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use a3s_shared::runtime::child::spawn_bound;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::nats;
use crate::step::{self, cargo, is_there};

/// What is searched for when nothing is said.
const PATTERN: &str = "authenticat";

/// How many workers are in the fleet that is compared with one.
const FLEET: usize = 3;

/// How often each of the two searches, in turn.
const RUNS: usize = 3;

/// How long servers and workers may take to start.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How long the server and the workers may take to stop before they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// The demo.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Regular expression to search for
    #[arg(default_value = PATTERN)]
    pattern: String,

    /// Use the optimised build: searches are ten times as fast, the first build takes minutes more
    #[arg(long)]
    release: bool,
}

/// Runs the demo.
///
/// # Errors
/// When anything cannot be built or started, or when outputs differ.
pub(crate) fn run(demo: &Demo) -> Result<()> {
    let server = nats::ensure()?;
    let coordinator = build(demo.release)?;
    let tree = dependencies()?;
    let state = TempDir::with_prefix("a3s-demo-").context("no temporary directory")?;
    let stage = Stage {
        coordinator,
        server,
        tree,
        state,
    };
    let one = stage.serve("one", 1)?;
    let fleet = stage.serve("fleet", FLEET)?;
    eprintln!("searching {} for {:?}", stage.tree.display(), demo.pattern);
    let outcome = compare(&stage, &demo.pattern);
    fleet.stop();
    one.stop();
    outcome
}

fn build(release: bool) -> Result<PathBuf> {
    // Not quiet: the first build takes minutes, and cargo shows how far it is.
    let mut build = cargo(&["build", "-p", "a3s-coordinator", "-p", "a3s-worker"]);
    build.args(release.then_some("--release"));
    step::run(&mut build)?;
    let target = metadata()?["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .context("cargo metadata names no target directory")?;
    let profile = if release { "release" } else { "debug" };
    Ok(target.join(profile).join("a3s-coordinator"))
}

fn metadata() -> Result<Value> {
    // Dependencies of other platforms need not be on this disk, so nothing may be downloaded.
    let output = cargo(&["metadata", "--format-version=1", "--offline"])
        .stderr(Stdio::null())
        .output()
        .context("cannot run cargo metadata")?;
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout)?);
    }
    let output = cargo(&["metadata", "--format-version=1"]).output()?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        output.status
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The directory that holds the sources of most dependencies.
fn dependencies() -> Result<PathBuf> {
    let metadata = metadata()?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    let mut folders: Vec<&Path> = packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter_map(|package| {
            Path::new(package["manifest_path"].as_str()?)
                .parent()?
                .parent()
        })
        .collect();
    folders.sort_unstable();
    let largest = folders
        .chunk_by(|a, b| a == b)
        .max_by_key(|same| same.len())
        .context("this project has no dependencies on disk")?;
    Ok(largest[0].to_owned())
}

/// Where the demo plays.
struct Stage {
    coordinator: PathBuf,
    server: PathBuf,
    tree: PathBuf,
    state: TempDir,
}

/// What one search printed, and how long it took.
struct Run {
    output: Vec<u8>,
    stats: String,
    elapsed: Duration,
}

impl Stage {
    /// A command of the coordinator that sees the demo's server and nothing of the user's.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.coordinator);
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("NATS_") || text.starts_with("A3S_") || text == "SESSION_ID" {
                command.env_remove(name);
            }
        }
        command
            .current_dir(&self.tree)
            .env("A3S_NATS_SERVER", &self.server)
            .env("A3S_STATE_DIR", self.state.path())
            // One task at a time, so that a worker is worth one core.
            .env("A3S_CONCURRENCY", "1")
            .stdin(Stdio::null())
            .arg("--embedded");
        command
    }

    /// Starts `workers` workers of a pool, and the server where it does not run yet.
    fn serve(&self, pool: &str, workers: usize) -> Result<Service> {
        let mut command = self.command();
        command
            .args(["serve", "--pool", pool, "--local-workers"])
            .arg(workers.to_string())
            .stdout(Stdio::null());
        let log = self.state.path().join(format!("{pool}.log"));
        command.stderr(fs::File::create(&log)?);
        let mut service = Service(spawn_bound(command).context("cannot start the coordinator")?);
        let until = Instant::now() + READY_WITHIN;
        loop {
            let text = fs::read_to_string(&log)?;
            if text.contains("serving on") {
                return Ok(service);
            }
            let ended = service.0.try_wait()?.is_some();
            if ended || Instant::now() > until {
                bail!("the {pool} workers did not start:\n{text}");
            }
            pause();
        }
    }

    /// Searches with the workers of `pool`.
    fn search(&self, pool: &str, pattern: &str) -> Result<Run> {
        let began = Instant::now();
        let output = self
            .command()
            .args(["search", "--stats", "--pool", pool, "--", pattern])
            .output()
            .context("cannot run the coordinator")?;
        let elapsed = began.elapsed();
        let stats = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            matches!(output.status.code(), Some(0 | 1)),
            "the search failed ({}):\n{stats}",
            output.status
        );
        Ok(Run {
            output: output.stdout,
            stats,
            elapsed,
        })
    }

    /// Searches with ripgrep, where it is installed.
    fn ripgrep(&self, pattern: &str) -> Result<Option<Vec<u8>>> {
        if !is_there("rg", "--version") {
            eprintln!("not compared with ripgrep, which is not installed");
            return Ok(None);
        }
        let output = Command::new("rg")
            .args([
                "--no-config",
                "-n",
                "--no-heading",
                "--sort",
                "path",
                "--",
                pattern,
            ])
            .current_dir(&self.tree)
            .stdin(Stdio::null())
            .output()?;
        Ok(Some(output.stdout))
    }
}

/// Searches in turn with one worker and with the fleet, and prints what came out.
fn compare(stage: &Stage, pattern: &str) -> Result<()> {
    // The first search reads the tree from the disk; it would count for whoever comes first.
    stage.search("fleet", pattern)?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        alone.push(stage.search("one", pattern)?);
        together.push(stage.search("fleet", pattern)?);
    }
    let first = alone[0].output.clone();
    for run in alone.iter().chain(&together) {
        ensure!(run.output == first, "two searches printed different lines");
    }
    let mut same = format!("the outputs of all {} searches are the same", 2 * RUNS);
    if let Some(output) = stage.ripgrep(pattern)? {
        ensure!(output == first, "ripgrep prints different lines");
        same.push_str(", and ripgrep's");
    }
    print_results(&mut alone, &mut together);
    println!(
        "{same}: {} lines",
        first.iter().filter(|&&b| b == b'\n').count()
    );
    Ok(())
}

fn print_results(alone: &mut [Run], together: &mut [Run]) {
    let (one, fleet) = (median(alone), median(together));
    println!("1 worker:  {}", one.stats.trim_end());
    println!("{FLEET} workers: {}", fleet.stats.trim_end());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    println!(
        "median of {RUNS} runs: {:.2} s with 1 worker, {:.2} s with {FLEET}: {:.1} times as fast, on {cores} cores",
        one.elapsed.as_secs_f64(),
        fleet.elapsed.as_secs_f64(),
        one.elapsed.as_secs_f64() / fleet.elapsed.as_secs_f64(),
    );
}

fn median(runs: &mut [Run]) -> &Run {
    runs.sort_by_key(|run| run.elapsed);
    &runs[runs.len() / 2]
}

/// The wait between two looks at something that gives no event.
#[expect(
    clippy::disallowed_methods,
    reason = "a recipe has one thread, and nobody waits for it"
)]
fn pause() {
    thread::sleep(Duration::from_millis(20));
}

/// A serving coordinator. Stopped in order, and killed where that fails: also when the demo ends
/// early, and by the kernel when the demo itself is killed.
struct Service(Child);

impl Service {
    fn stop(mut self) {
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let until = Instant::now() + STOP_WITHIN;
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < until {
            pause();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
