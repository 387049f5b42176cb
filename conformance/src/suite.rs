//! Runs cases, a few at a time, each with a server of its own and within a bound.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::report::Verdict;
use crate::rig::{Command, Rig, Scene};

/// The longest that a case may take.
const CASE_BOUND: Duration = Duration::from_secs(240);

/// What a worker must be able to do for a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// `echo`, on the Query lane.
    Basic,
    /// Everything.
    Full,
}

/// One claim about workers.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it is about: the file it is in.
    pub topic: &'static str,
    /// The claim.
    pub name: &'static str,
    /// Whom it is for.
    pub level: Level,
    /// What is there before.
    pub scene: Scene,
    /// Tries it.
    pub run: for<'a> fn(&'a mut Rig) -> LocalBoxFuture<'a, Result<()>>,
}

/// Runs `cases` against `command`, `jobs` at a time, in order, and tells each verdict as it comes.
pub fn run(cases: Vec<Case>, command: Command, jobs: usize) -> impl Stream<Item = Verdict> {
    stream::iter(cases)
        .map(move |case| one(case, command.clone()))
        .buffered(jobs.max(1))
}

async fn one(case: Case, command: Command) -> Verdict {
    let began = Instant::now();
    let failure = match AssertUnwindSafe(tried(case, command)).catch_unwind().await {
        Ok(outcome) => outcome.err(),
        Err(panic) => Some(told(panic.as_ref())),
    };
    Verdict {
        topic: case.topic,
        name: case.name,
        failure,
        took: began.elapsed(),
    }
}

/// The error of the case, with what the workers printed.
async fn tried(case: Case, command: Command) -> Result<(), String> {
    let rig = Rig::start(case.scene, command).await;
    let mut rig = rig.map_err(|error| format!("{error:#}"))?;
    let run = AssertUnwindSafe((case.run)(&mut rig)).catch_unwind();
    let failure = match timeout(CASE_BOUND, run).await {
        Ok(Ok(Ok(()))) => return Ok(()),
        Ok(Ok(Err(error))) => format!("{error:#}"),
        Ok(Err(panic)) => told(panic.as_ref()),
        Err(_) => format!("it was not over after {} s", CASE_BOUND.as_secs()),
    };
    Err(format!("{failure}\n{}", rig.last_words()))
}

/// What a panic of the testkit says.
fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked without a word").to_owned()
}
