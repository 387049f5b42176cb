//! Keeps so many tasks in flight and times them; what the peers in Rust have in common.

use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long the same load runs before it is measured, as a part of what is measured.
const WARM_UP: f64 = 0.3;

/// The longest that a task may take.
const WAIT: Duration = Duration::from_secs(60);

/// Who awaits the result of which task.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<HashMap<u64, oneshot::Sender<()>>>>);

impl Waiting {
    fn for_task(&self, id: u64) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(id, tell);
        told
    }

    /// A result is here.
    pub fn tell(&self, id: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = all.remove(&id) {
            let _ = tell.send(());
        }
    }

    /// Submits a task and awaits its result.
    pub async fn once(&self, id: u64, submit: impl Future<Output = Result<()>>) -> Result<()> {
        let told = self.for_task(id);
        submit.await?;
        let told = timeout(WAIT, told).await;
        told.with_context(|| format!("task {id} has no result"))?
            .context("nobody listens")
    }
}

/// Runs tasks, each by a future that `start` makes for its number, so many at a time, and prints
/// what was seen.
pub async fn drive<F>(start: impl Fn(u64) -> F + Clone + Send + 'static) -> Result<()>
where
    F: Future<Output = Result<()>> + Send,
{
    let seconds: f64 = number("SECONDS")?;
    let in_flight: u64 = number("IN_FLIGHT")?;
    start(0).await?;
    let begin = Instant::now() + Duration::from_secs_f64(seconds * WARM_UP);
    let end = begin + Duration::from_secs_f64(seconds);
    let next = Arc::new(AtomicU64::new(1));
    let mut running = Vec::new();
    for _ in 0..in_flight {
        let (next, start) = (Arc::clone(&next), start.clone());
        running.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let started = Instant::now();
                start(next.fetch_add(1, Ordering::Relaxed)).await?;
                let ended = Instant::now();
                if begin <= started && ended <= end {
                    times.push((ended - started).as_secs_f64() * 1000.0);
                }
            }
            anyhow::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for one in running {
        times.extend(one.await??);
    }
    times.sort_by(f64::total_cmp);
    let last = times
        .len()
        .checked_sub(1)
        .context("no task came back in the measured time")?;
    let at = |part: f64| times[((times.len() as f64 * part) as usize).min(last)];
    let report = serde_json::json!({
        "tasks": times.len(), "seconds": seconds, "p50_ms": at(0.5), "p99_ms": at(0.99),
    });
    println!("{report}");
    Ok(())
}

/// A variable that the driver sets.
pub fn setting(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// A variable that is a number.
pub fn number<T: FromStr>(name: &str) -> Result<T>
where
    T::Err: Error + Send + Sync + 'static,
{
    let value = setting(name)?;
    value.parse().with_context(|| format!("{name}={value}"))
}
