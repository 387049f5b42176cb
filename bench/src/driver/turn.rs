//! One turn: floor or product, once.

use std::fmt;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

use super::matrix::Cell;
use super::program::{self, Worker};
use super::stage::Stage;
use crate::load::Report;

/// How long the same load runs before it is measured, as a part of what is measured.
const WARM_UP: f64 = 0.3;

/// The least slots of a worker: with fewer it would wait for its own acknowledgements.
const SLOTS: usize = 16;

/// Who runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Side {
    /// The least that does the same on the broker.
    Floor,
    /// The product.
    Product,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "floor",
            Self::Product => "a3s",
        })
    }
}

/// Starts workers and a submitter, and checks what they leave behind.
pub(crate) async fn run(stage: &Stage, side: Side, cell: &Cell, seconds: f64) -> Result<Report> {
    let mut workers = Vec::new();
    for _ in 0..cell.workers {
        workers.push(start_worker(stage, side, cell).await?);
    }
    let output = program::finish(submitter(stage, side, cell, seconds, &workers)?).await?;
    let report: Report = serde_json::from_slice(&output)?;
    let settled = stage.settle(report.submitted).await;
    settled.with_context(|| format!("{side}, {}", cell.name))?;
    for worker in workers {
        worker.stop().await?;
    }
    Ok(report)
}

/// Starts a worker of one side and waits until it pulls.
pub(crate) async fn start_worker(stage: &Stage, side: Side, cell: &Cell) -> Result<Worker> {
    let mut worker = spawn_worker(stage, side, cell)?;
    worker.ready().await?;
    Ok(worker)
}

/// Starts a worker of one side, with as many slots as the other side's would have.
pub(crate) fn spawn_worker(stage: &Stage, side: Side, cell: &Cell) -> Result<Worker> {
    let slots = cell.in_flight.max(SLOTS).to_string();
    let mut command;
    match side {
        Side::Floor => {
            command = program::command("a3s-bench")?;
            command.args(["floor-work", "--url", stage.url(), "--slots", &slots]);
        }
        Side::Product => {
            command = program::command("a3s-worker")?;
            command.args(["--nats-url", stage.url(), "--concurrency", &slots]);
        }
    }
    Worker::spawn(command)
}

fn submitter(
    stage: &Stage,
    side: Side,
    cell: &Cell,
    seconds: f64,
    workers: &[Worker],
) -> Result<Command> {
    let mut command = program::command("a3s-bench")?;
    command.arg(match side {
        Side::Floor => "floor-submit",
        Side::Product => "product-submit",
    });
    let encoding = if cell.json { "json" } else { "messagepack" };
    command.args(["--url", stage.url(), "--encoding", encoding]);
    command.arg(format!("--in-flight={}", cell.in_flight));
    command.arg(format!("--body={}", cell.body));
    command.arg(format!("--sessions={}", cell.sessions));
    command.arg(format!("--seconds={seconds}"));
    command.arg(format!("--warm-up={}", seconds * WARM_UP));
    command.args(cell.every_ms.map(|ms| format!("--every-ms={ms}")));
    command.arg(format!("--watch=server={}", stage.server_pid()));
    for worker in workers {
        command.arg(format!("--watch=worker={}", worker.pid()));
    }
    Ok(command)
}
