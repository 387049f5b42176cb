//! Submits a load and waits for all of it.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use a3s_shared::protocol::{Encoding, LaneHandlerConfig, TaskHandlerMode};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};

use super::load::{LANE, Load, Until, task};
use super::timings::Timings;
use crate::config::SessionQueueConfig;
use crate::coordinator::Coordinator;
use crate::error::{Error, SubmitError, TaskError};
use crate::session::Session;

/// How many sessions are opened at a time.
const OPENED_AT_A_TIME: usize = 64;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// A task was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// A task had no result.
    #[error(transparent)]
    Task(#[from] TaskError),
    /// A task failed. Most often its worker is older than the tool `noop`.
    #[error("task {task_id} failed on worker {worker_id}: {error}")]
    Failed {
        /// The task.
        task_id: String,
        /// Who answered.
        worker_id: String,
        /// Why.
        error: String,
    },
}

/// Opens `count` sessions named `<name>-0`, `<name>-1`, …, whose tasks go to the workers of pool
/// `default`, `in_flight` at a time.
///
/// # Errors
/// When one cannot be opened.
pub async fn open_sessions(
    coordinator: &Coordinator,
    name: &str,
    count: usize,
    in_flight: usize,
    encoding: Encoding,
) -> Result<Vec<Session>, Error> {
    let handler = LaneHandlerConfig {
        mode: TaskHandlerMode::External,
        ..LaneHandlerConfig::default()
    };
    let config = SessionQueueConfig {
        query_max_concurrency: in_flight,
        ..SessionQueueConfig::default().with_lane_handler(LANE, handler)
    };
    let opening = (0..count).map(|n| {
        let session = coordinator.session(format!("{name}-{n}"));
        session.config(config.clone()).encoding(encoding).open()
    });
    let opened = stream::iter(opening).buffered(OPENED_AT_A_TIME);
    opened.try_collect().await
}

/// Submits `load` to `sessions` in turn, and waits for every result.
///
/// With `same_clock` the workers run on this machine, so their clock is ours and the starts of
/// tasks are timed too.
///
/// # Errors
/// [`BenchError`], when one task has no successful result.
pub async fn drive(
    sessions: &[Session],
    payload: &Value,
    load: &Load,
    same_clock: bool,
) -> Result<Timings, BenchError> {
    let driver = Driver {
        sessions,
        payload,
        load,
        same_clock,
        began: Instant::now(),
        next: Cell::new(0),
        timings: RefCell::default(),
    };
    match load.every {
        Some(period) => driver.paced(period).await?,
        None => {
            let callers = (0..load.in_flight).map(|_| driver.caller());
            try_join_all(callers).await?;
        }
    }
    let mut timings = driver.timings.into_inner();
    timings.elapsed = driver.began.elapsed();
    Ok(timings)
}

/// One drive. On one thread, so cells are enough.
struct Driver<'a> {
    sessions: &'a [Session],
    payload: &'a Value,
    load: &'a Load,
    same_clock: bool,
    began: Instant,
    next: Cell<u64>,
    timings: RefCell<Timings>,
}

impl Driver<'_> {
    /// The number of the next task, unless the load has ended.
    fn take(&self) -> Option<u64> {
        let number = self.next.get();
        let over = match self.load.until {
            Until::Tasks(count) => number >= count,
            Until::Elapsed(time) => self.began.elapsed() >= time,
        };
        self.next.set(number + 1);
        (!over).then_some(number)
    }

    async fn caller(&self) -> Result<(), BenchError> {
        while let Some(number) = self.take() {
            self.one(number).await?;
        }
        Ok(())
    }

    /// One task each period; a task that takes longer delays the ones behind it.
    async fn paced(&self, period: Duration) -> Result<(), BenchError> {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(number) = self.take() else {
                return Ok(());
            };
            self.one(number).await?;
        }
    }

    async fn one(&self, number: u64) -> Result<(), BenchError> {
        let turn = usize::try_from(number).unwrap_or_default() % self.sessions.len();
        let command = task(self.payload.clone());
        let (submitted, submitted_us) = (Instant::now(), now_us());
        let handle = self.sessions[turn].submit(LANE, command).await?;
        let result = handle.await?;
        let after = submitted.elapsed();
        if !result.success {
            return Err(BenchError::Failed {
                task_id: result.task_id,
                worker_id: result.worker_id,
                error: result.error.unwrap_or_default(),
            });
        }
        let mut timings = self.timings.borrow_mut();
        timings.answered(after);
        let started_us = result.result["started_at_us"].as_u64();
        if let Some(started_us) = started_us.filter(|_| self.same_clock) {
            timings.started(Duration::from_micros(
                started_us.saturating_sub(submitted_us),
            ));
        }
        Ok(())
    }
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(u64::MAX))
}
