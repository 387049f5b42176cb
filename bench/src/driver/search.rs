//! `a3s-coordinator search` beside `rg`, with as many workers as ripgrep has threads, on a tree
//! that is in memory.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use a3s_shared::runtime::child::spawn_bound;
use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::pairs::median;
use super::program::{self, Worker};
use super::stage::Stage;

/// What is searched for: in some of the files of any tree of sources.
const PATTERN: &str = "authenticat";

/// Fewer files say nothing.
const FILES: usize = 20_000;

/// The statuses of both programs when something was found.
const FOUND: i32 = 0;

/// Times of both, in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Search {
    /// How many files the tree has.
    pub(crate) files: usize,
    /// How many threads, and workers.
    pub(crate) threads: usize,
    /// ripgrep, from exec to its end.
    pub(crate) rg_ms: Vec<f64>,
    /// The product.
    pub(crate) a3s_ms: Vec<f64>,
    /// The product, from exec to the first byte.
    pub(crate) first_ms: Vec<f64>,
}

struct Seen {
    ms: f64,
    first_ms: f64,
    output: Vec<u8>,
}

impl Search {
    /// Lets both search `tree`, in turn. None, loudly, where that cannot be done.
    pub(crate) async fn of(
        stage: &Stage,
        tree: Option<&Path>,
        rounds: usize,
    ) -> Result<Option<Self>> {
        let Some((tree, files)) = pick(tree) else {
            eprintln!(
                "SKIPPED: search, because no tree of {FILES} files was found; name one with --tree"
            );
            return Ok(None);
        };
        let Ok(rg) = which("rg") else {
            eprintln!("SKIPPED: search, because rg is not installed");
            return Ok(None);
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::new();
        for _ in 0..threads {
            let mut worker = program::command("a3s-worker")?;
            worker
                .args(["--nats-url", stage.url(), "--concurrency=1", "--workspace"])
                .arg(&tree);
            workers.push(Worker::start(worker).await?);
        }
        let mut search = Self {
            files,
            threads,
            ..Self::default()
        };
        // The first pair warms the caches, and is not counted.
        for round in 0..=rounds {
            let theirs = run(ripgrep(&rg, &tree, threads)).await?;
            let ours = run(product(stage, &tree)?).await?;
            let lines = |seen: &Seen| {
                seen.output
                    .split(|&b| b == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect::<BTreeSet<_>>()
            };
            ensure!(
                lines(&theirs) == lines(&ours),
                "search and rg found different lines in {}",
                tree.display()
            );
            if round > 0 {
                search.rg_ms.push(theirs.ms);
                search.a3s_ms.push(ours.ms);
                search.first_ms.push(ours.first_ms);
                eprintln!(
                    "  rg: {:.0} ms, a3s: {:.0} ms, its first byte after {:.0} ms",
                    theirs.ms, ours.ms, ours.first_ms
                );
            }
        }
        for worker in workers {
            worker.stop().await?;
        }
        Ok(Some(search))
    }

    /// The median over the pairs of product divided by ripgrep.
    pub(crate) fn ratio(&self) -> f64 {
        median(
            self.rg_ms
                .iter()
                .zip(&self.a3s_ms)
                .map(|(rg, a3s)| a3s / rg),
        )
    }

    /// The median of the product's first bytes, in milliseconds.
    pub(crate) fn first(&self) -> f64 {
        median(self.first_ms.iter().copied())
    }
}

fn ripgrep(rg: &Path, tree: &Path, threads: usize) -> Command {
    let mut command = Command::new(rg);
    command
        .args(["--no-config", "-n", "--no-heading", "-j"])
        .arg(threads.to_string());
    command.arg(PATTERN).current_dir(tree).stdin(Stdio::null());
    // Without a path, ripgrep would read what it is given on standard input.
    command.arg("./");
    command
}

fn product(stage: &Stage, tree: &Path) -> Result<Command> {
    let mut command = program::command("a3s-coordinator")?;
    command
        .args(["--nats-url", stage.url(), "search", PATTERN, "./"])
        .current_dir(tree);
    Ok(command)
}

async fn run(mut command: Command) -> Result<Seen> {
    command.stdout(Stdio::piped());
    let work = move || {
        let began = Instant::now();
        let ms = move || began.elapsed().as_secs_f64() * 1000.0;
        let mut child = spawn_bound(command)?;
        let mut stdout = child.stdout.take().context("stdout is piped")?;
        let mut output = vec![0];
        let read = stdout.read(&mut output)?;
        let first_ms = ms();
        output.truncate(read);
        stdout.read_to_end(&mut output)?;
        let status = child.wait()?;
        ensure!(status.code() == Some(FOUND), "a search ended with {status}");
        Ok(Seen {
            ms: ms(),
            first_ms,
            output,
        })
    };
    tokio::task::spawn_blocking(work).await?
}

/// A tree of enough files: the one that was named, else the sources of this machine's crates.
fn pick(named: Option<&Path>) -> Option<(PathBuf, usize)> {
    let trees = match named {
        Some(tree) => vec![tree.to_owned()],
        None => registries(),
    };
    let counted = trees.into_iter().map(|tree| (count(&tree), tree));
    let (files, tree) = counted.max()?;
    (files >= FILES).then_some((tree, files))
}

fn registries() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let sources = cargo.map(|cargo| cargo.join("registry/src"));
    let listed = sources.and_then(|sources| fs::read_dir(sources).ok());
    listed
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn count(tree: &Path) -> usize {
    let Ok(entries) = fs::read_dir(tree) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => count(&entry.path()),
            Ok(kind) if kind.is_file() => 1,
            _ => 0,
        })
        .sum()
}

fn which(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|dir| dir.join(name));
    found
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not on PATH"))
}
