//! Peers in Rust: `nats-work`, `nats-work-stored`, `nats-submit` (apalis on NATS), `redis-work`,
//! `redis-submit` (apalis on Redis), `lane-work`, `lane-submit` (a3s-lane on Redis), `lane` (a3s-lane,
//! in one process). Addresses and numbers come from the environment.

mod apalis_nats_peer;
mod apalis_redis_peer;
mod lane;
mod lane_redis;
mod redis_results;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("nats-work") => apalis_nats_peer::work(false).await,
        Some("nats-work-stored") => apalis_nats_peer::work(true).await,
        Some("nats-submit") => apalis_nats_peer::submit().await,
        Some("redis-work") => apalis_redis_peer::work().await,
        Some("redis-submit") => apalis_redis_peer::submit().await,
        Some("lane-work") => lane_redis::work().await,
        Some("lane-submit") => lane_redis::submit().await,
        Some("lane") => lane::run().await,
        other => bail!("unknown command {other:?}: see the first lines of main.rs"),
    }
}

/// A task: 256 bytes or so, and a number by which its result is known.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Job {
    id: u64,
    text: String,
}

impl Job {
    fn of(id: u64) -> Self {
        let text = "x".repeat(220);
        Self { id, text }
    }
}
