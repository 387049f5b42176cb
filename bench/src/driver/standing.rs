//! What a worker costs that has nothing to do, and how soon it pulls after its start.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::StreamExt;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::matrix::base;
use super::pairs::median;
use super::stage::Stage;
use super::turn::{Side, spawn_worker};
use crate::usage;

/// How long a worker has to come to rest after its start.
const REST: Duration = Duration::from_secs(1);

/// How long its first pull may take.
const PULL_WITHIN: Duration = Duration::from_secs(30);

/// An idle worker.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Standing {
    /// From exec to its first pull, as the server sees it: milliseconds, each start.
    pub(crate) ready_ms: Vec<f64>,
    /// How much of one core it needs, in percent.
    pub(crate) idle_percent: f64,
    /// Resident memory, in MiB.
    pub(crate) rss_mib: f64,
}

impl Standing {
    /// Starts workers of one side, and lets the last one idle for so long.
    pub(crate) async fn of(
        stage: &Stage,
        side: Side,
        starts: usize,
        idle: Duration,
    ) -> Result<Self> {
        let mut ready_ms = Vec::new();
        let mut last = None;
        for _ in 0..starts {
            drop(last.take());
            let mut pulls = stage.next_pull().await?;
            let began = Instant::now();
            let worker = spawn_worker(stage, side, &base())?;
            let pulled = timeout(PULL_WITHIN, pulls.next()).await;
            pulled.context("a worker did not pull")?;
            ready_ms.push(began.elapsed().as_secs_f64() * 1000.0);
            last = Some(worker);
        }
        let worker = last.context("at least one start")?;
        sleep(REST).await;
        let before = usage::of(worker.pid())?;
        sleep(idle).await;
        let after = usage::of(worker.pid())?;
        let spent = after.cpu_us.saturating_sub(before.cpu_us) as f64;
        worker.stop().await?;
        Ok(Self {
            ready_ms,
            idle_percent: spent / idle.as_micros() as f64 * 100.0,
            rss_mib: after.rss_kib as f64 / 1024.0,
        })
    }

    /// The median of the starts, in milliseconds.
    pub(crate) fn ready(&self) -> f64 {
        median(self.ready_ms.iter().copied())
    }
}
