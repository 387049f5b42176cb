//! The driver: starts servers, submitters and workers, lets floor and product take turns, and
//! prints what it saw.
//!
//! * `matrix`: what is measured. `stage`: the server of one measurement; `program`: the processes.
//! * `turn`: one of the two sides once, and the check that every task had exactly one result.
//!   `pairs`: medians over turns.
//! * `drain`, `standing`, `search`: what is not a pair of loads. `goals`: what is wanted of it all.
//! * `table`, `page`: for people.

mod drain;
mod goals;
mod matrix;
mod page;
mod pairs;
mod program;
mod search;
mod stage;
mod standing;
mod table;
mod turn;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use drain::Drain;
use goals::Goal;
use matrix::Cell;
use pairs::Outcome;
use search::Search;
use stage::Stage;
use standing::Standing;
use turn::Side;

/// How long a quick run may take before it leaves out what is left.
const QUICK_WITHIN: Duration = Duration::from_secs(50);

/// Compare the product with the floor
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A minute: short runs, one pair of each, without the largest
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Write a page with tables and plots, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only the measurements whose names contain this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many pairs of floor and product [default: 5, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each run is measured, in seconds [default: 3, with --quick 0.7]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// The tree to search [default: the sources of this machine's crates]
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
}

/// Everything that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// On what: cores and versions.
    pub(crate) machine: String,
    /// Loads, by both sides.
    pub(crate) pairs: Vec<Outcome>,
    /// Backlogs, by both sides.
    pub(crate) drains: Vec<Drain>,
    /// An idle worker of the product.
    pub(crate) worker: Option<Standing>,
    /// An idle worker of the floor.
    pub(crate) floor_worker: Option<Standing>,
    /// Searches, by the product and by ripgrep.
    pub(crate) search: Option<Search>,
    /// What was wanted of it.
    pub(crate) goals: Vec<Goal>,
}

impl Run {
    /// Measures, and fails when anything was lost or came twice.
    pub(crate) async fn run(self) -> Result<()> {
        let mut findings = self.measure().await?;
        findings.goals = goals::of(&findings);
        if let Some(path) = &self.report {
            let written = page::of(&findings).write(path);
            written.with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("report: {}", path.display());
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings)?);
        } else {
            print!("{}", table::of(&findings));
        }
        Ok(())
    }

    async fn measure(&self) -> Result<Findings> {
        let began = Instant::now();
        let mut findings = Findings::default();
        let mut wanted = 0;
        let mut due = |name: &str| {
            let named = self.only.as_ref().is_none_or(|only| name.contains(only));
            wanted += usize::from(named);
            let late = self.quick && began.elapsed() > QUICK_WITHIN;
            if named && late {
                eprintln!("SKIPPED: {name}, because the time of --quick is over");
            } else if named {
                eprintln!("{name}");
            }
            named && !late
        };
        for cell in matrix::cells(self.quick) {
            if due(&cell.name) {
                findings.pairs.push(self.pair(cell).await?);
            }
        }
        if due("idle worker") {
            let stage = Stage::start().await?;
            let (starts, idle) = self.patience();
            let of = async |side| Standing::of(&stage, side, starts, idle).await;
            findings.worker = Some(of(Side::Product).await?);
            if !self.quick {
                findings.floor_worker = Some(of(Side::Floor).await?);
            }
        }
        for &backlog in matrix::backlogs(self.quick) {
            let drain = Drain::of(backlog);
            if due(&drain.name) {
                findings.drains.push(self.drain(drain).await?);
            }
        }
        if due("search") {
            let stage = Stage::start().await?;
            findings.search = Search::of(&stage, self.tree.as_deref(), self.rounds()).await?;
        }
        if wanted == 0 {
            bail!(
                "no measurement has {:?} in its name",
                self.only.as_deref().unwrap_or_default()
            );
        }
        let server = Stage::start().await?.server_version();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let version = env!("CARGO_PKG_VERSION");
        findings.machine = format!("{cores} cores, nats-server {server}, a3s {version}");
        Ok(findings)
    }

    /// Floor and product in turn, on one server.
    async fn pair(&self, cell: Cell) -> Result<Outcome> {
        let stage = Stage::start().await?;
        let seconds = self.seconds.unwrap_or(if self.quick { 0.7 } else { 3.0 });
        let mut outcome = Outcome::of(cell.clone());
        for round in 0..self.rounds() {
            for side in order(round) {
                let report = turn::run(&stage, side, &cell, seconds).await?;
                eprintln!("  {side}: {:.0} tasks/s", report.summary.per_second);
                outcome.push(side, report);
            }
        }
        Ok(outcome)
    }

    async fn drain(&self, mut drain: Drain) -> Result<Drain> {
        let stage = Stage::start().await?;
        for round in 0..self.rounds() {
            drain.round(&stage, order(round)).await?;
        }
        Ok(drain)
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }

    /// How often a worker is started, and how long one idles.
    fn patience(&self) -> (usize, Duration) {
        if self.quick {
            (3, Duration::from_secs(4))
        } else {
            (10, Duration::from_secs(20))
        }
    }
}

/// Who goes first alternates, so that neither always has the warmer machine.
fn order(round: usize) -> [Side; 2] {
    match round % 2 {
        0 => [Side::Floor, Side::Product],
        _ => [Side::Product, Side::Floor],
    }
}
