//! The driver: starts servers, submitters and workers, lets floor and product take turns, and
//! prints what it saw.
//!
//! * `matrix`: what is measured. `stage`: the processes of one measurement. `turn`: one of the two
//!   sides once, and the check that every task had exactly one result. `pairs`: medians.

mod matrix;
mod pairs;
mod program;
mod stage;
mod table;
mod turn;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use matrix::Cell;
use pairs::Outcome;
use stage::Stage;
use turn::Side;

/// How long a quick run may take before it leaves out what is left.
const QUICK_WITHIN: Duration = Duration::from_secs(48);

/// Compare the product with the floor
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// A minute: short runs, one pair of each, without the largest
    #[arg(long)]
    quick: bool,
    /// One JSON object instead of tables
    #[arg(long)]
    json: bool,
    /// Only the measurements whose names contain this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// How many pairs of floor and product [default: 5, with --quick 1]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long each run is measured, in seconds [default: 3, with --quick 0.7]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
}

impl Run {
    /// Measures, and fails when anything was lost or came twice.
    pub(crate) async fn run(self) -> Result<()> {
        let began = Instant::now();
        let cells = matrix::cells(self.quick);
        let wanted = |cell: &Cell| {
            self.only
                .as_ref()
                .is_none_or(|only| cell.name.contains(only))
        };
        let cells: Vec<Cell> = cells.into_iter().filter(wanted).collect();
        if cells.is_empty() {
            bail!(
                "no measurement has {:?} in its name",
                self.only.unwrap_or_default()
            );
        }
        let mut outcomes = Vec::new();
        for cell in cells {
            if self.quick && began.elapsed() > QUICK_WITHIN {
                eprintln!(
                    "SKIPPED: {}, because the time of --quick is over",
                    cell.name
                );
                continue;
            }
            eprintln!("{}", cell.name);
            outcomes.push(self.measure(cell).await?);
        }
        if self.json {
            println!("{}", serde_json::to_string_pretty(&outcomes)?);
        } else {
            print!("{}", table::of(&outcomes));
        }
        Ok(())
    }

    /// Floor and product in turn, on one server.
    async fn measure(&self, cell: Cell) -> Result<Outcome> {
        let stage = Stage::start().await?;
        let seconds = self.seconds.unwrap_or(if self.quick { 0.7 } else { 3.0 });
        let mut outcome = Outcome::of(cell.clone());
        for round in 0..self.rounds() {
            // Who goes first alternates, so that neither always has the warmer machine.
            let mut sides = [Side::Floor, Side::Product];
            if round % 2 == 1 {
                sides.reverse();
            }
            for side in sides {
                let report = turn::run(&stage, side, &cell, seconds).await?;
                eprintln!("  {side}: {:.0} tasks/s", report.summary.per_second);
                outcome.push(side, report);
            }
        }
        Ok(outcome)
    }

    fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 }).max(1)
    }
}
