//! How fast workers empty a backlog that was there before they came.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::matrix::{Cell, base};
use super::pairs::median;
use super::program;
use super::stage::Stage;
use super::turn::{Side, start_worker};

/// Slots of the one worker: as many as make the pull a large one.
const SLOTS: usize = 500;

/// A backlog and how fast it was drained, in tasks per second.
#[derive(Debug, Serialize)]
pub(crate) struct Drain {
    /// What `--only` is compared with.
    pub(crate) name: String,
    /// How many tasks waited.
    pub(crate) backlog: u64,
    /// The floor's rates.
    pub(crate) floor: Vec<f64>,
    /// The product's.
    pub(crate) a3s: Vec<f64>,
}

impl Drain {
    /// A backlog of so many tasks, not drained yet.
    pub(crate) fn of(backlog: u64) -> Self {
        Self {
            name: format!("backlog of {backlog}"),
            backlog,
            floor: Vec::new(),
            a3s: Vec::new(),
        }
    }

    /// Both sides once, in turn.
    pub(crate) async fn round(&mut self, stage: &Stage, sides: [Side; 2]) -> Result<()> {
        for side in sides {
            let rate = self.turn(stage, side).await?;
            eprintln!("  {side}: {rate:.0} tasks/s");
            match side {
                Side::Floor => self.floor.push(rate),
                Side::Product => self.a3s.push(rate),
            }
        }
        Ok(())
    }

    async fn turn(&self, stage: &Stage, side: Side) -> Result<f64> {
        let mut fill = program::command("a3s-bench")?;
        fill.args(["floor-fill", "--url", stage.url()]);
        fill.arg(format!("--tasks={}", self.backlog));
        program::finish(fill).await?;
        let worker = start_worker(stage, side, &self.cell()).await?;
        let took = stage.results_in(self.backlog).await?;
        let settled = stage.settle(self.backlog).await;
        settled.with_context(|| format!("{side}, {}", self.name))?;
        worker.stop().await?;
        if took == Duration::ZERO {
            bail!("a backlog of {} is too small to time", self.backlog);
        }
        Ok((self.backlog - 1) as f64 / took.as_secs_f64())
    }

    fn cell(&self) -> Cell {
        Cell {
            in_flight: SLOTS,
            ..base()
        }
    }

    /// The median over the pairs of product divided by floor.
    pub(crate) fn ratio(&self) -> f64 {
        median(
            self.floor
                .iter()
                .zip(&self.a3s)
                .map(|(floor, a3s)| a3s / floor),
        )
    }
}
