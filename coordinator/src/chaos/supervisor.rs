//! A run from its beginning to its end: injects the faults by the clock, looks after the
//! processes, and when all is healed and answered writes down what is left.

use std::fs;
use std::path::Path;
use std::time::Duration;

use a3s_coordinator::Coordinator;
use a3s_shared::broker::Broker;
use a3s_shared::runtime::Shutdown;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::cast::Cast;
use super::ledger::lines::{AtTheEnd, Run};
use super::ledger::{BROKER, RUN, SCRIPT};
use super::plan::Fault;
use super::server::Server;
use super::stage::Stage;
use super::witness::{self, Listener};

/// The tool of all tasks.
const ATTEMPT: &str = include_str!("attempt.sh");

/// How often processes are looked after.
const TEND_EVERY: Duration = Duration::from_millis(100);

/// Without a new result for this long, when nothing is broken any more, a run hangs: longer than
/// any task may take, and than the janitor needs to notice one that nobody else answered.
const STUCK_AFTER: Duration = Duration::from_secs(90);

/// How long tasks may be in their stream after the last answer: what a caller settled is taken
/// out by the worker that has it, at the next delivery, or else by the janitor.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How long leases and processes may outlive the workers.
const GONE_WITHIN: Duration = Duration::from_secs(15);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is complete; the ledger can be checked.
    Complete,
    /// Somebody stopped it.
    Interrupted,
}

/// What a run is given.
pub(crate) struct Setting<'a> {
    /// What is asked for.
    pub(crate) run: Run,
    /// The faults, by time.
    pub(crate) faults: Vec<Fault>,
    /// How processes are started.
    pub(crate) cast: Cast,
    /// Where the ledger goes: an empty directory.
    pub(crate) dir: &'a Path,
    /// The run's own server, to be broken; none: somebody else's.
    pub(crate) server: Option<Server>,
    /// A coordinator on a way that nobody breaks. Closed when the run is over.
    pub(crate) coordinator: Coordinator,
}

/// Prepares the directory of a run.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn prepare(dir: &Path, run: &Run) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::create_dir_all(dir.join("work"))?;
    let script = dir.join(SCRIPT);
    fs::write(&script, ATTEMPT)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    write(dir, RUN, run)
}

fn write(dir: &Path, name: &str, value: &impl Serialize) -> Result<()> {
    let path = dir.join(name);
    fs::write(&path, serde_json::to_vec(value)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Does a run. `progress` is told the number of results, again and again.
///
/// # Errors
/// When a process cannot be started, the ledger not be written, or nothing happens any more.
pub(crate) async fn supervise(
    setting: Setting<'_>,
    shutdown: &Shutdown,
    progress: impl Fn(usize),
) -> Result<Ended> {
    let Setting {
        run,
        faults,
        cast,
        dir,
        server,
        coordinator,
    } = setting;
    let mut stage = Stage::set(dir, &run.name, &cast, server).await?;
    let ended = play(
        &mut stage,
        &run.name,
        &faults,
        coordinator.broker(),
        shutdown,
        progress,
    )
    .await;
    // While its server is still there.
    coordinator.close().await;
    ended
}

async fn play(
    stage: &mut Stage,
    name: &str,
    faults: &[Fault],
    broker: &Broker,
    shutdown: &Shutdown,
    progress: impl Fn(usize),
) -> Result<Ended> {
    let listener = Listener::start(broker, name, stage.dir()).await?;
    let worked = tokio::select! {
        worked = work(stage, faults, &listener, progress) => worked.map(|()| Ended::Complete),
        () = shutdown.draining() => Ok(Ended::Interrupted),
    };
    if !matches!(worked, Ok(Ended::Complete)) {
        clear(stage, name).await;
        return worked;
    }
    wait_until_settled(broker, name).await?;
    let stubborn = stage.drain().await;
    let mut left = witness::left(broker, name, stage.owns_server(), GONE_WITHIN).await?;
    if stubborn > 0 {
        left.processes
            .push((0, format!("{stubborn} workers that did not drain")));
    }
    let end: AtTheEnd = witness::at_the_end(broker, name, left).await?;
    write(stage.dir(), BROKER, &end)?;
    Ok(Ended::Complete)
}

/// Injects faults until all tasks are answered.
async fn work(
    stage: &mut Stage,
    faults: &[Fault],
    listener: &Listener,
    progress: impl Fn(usize),
) -> Result<()> {
    let mut steps = steps(faults).into_iter().peekable();
    let mut began = Instant::now();
    let mut tick = interval(TEND_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = (0, Instant::now());
    loop {
        let next = steps
            .peek()
            .map(|step| began + Duration::from_millis(step.at_ms));
        tokio::select! {
            () = sleep_until(next.unwrap_or(began)), if next.is_some() => {
                match steps.next() {
                    Some(Step { fault, begins: true, .. }) => stage.begin(fault),
                    Some(Step { fault, .. }) => stage.end(fault).await?,
                    None => {}
                }
                // A step that took long (a server that starts on a busy machine) moves the rest:
                // faults that have piled up would leave nobody the time to come back.
                began += next.map_or(Duration::ZERO, |due| due.elapsed());
                last.1 = Instant::now();
            }
            _ = tick.tick() => {
                stage.tend().await?;
                progress(listener.told());
                if stage.submitter.ended().is_some_and(|status| status.success()) {
                    return stage.heal().await;
                }
                if listener.told() != last.0 {
                    last = (listener.told(), Instant::now());
                }
                if last.1.elapsed() > STUCK_AFTER {
                    bail!(
                        "no result for {STUCK_AFTER:?} after {} results, and nothing is broken: see \
                         the logs in {}", last.0, stage.dir().display()
                    );
                }
            }
        }
    }
}

/// One end of a fault.
struct Step {
    at_ms: u64,
    fault: Fault,
    begins: bool,
}

fn steps(faults: &[Fault]) -> Vec<Step> {
    let mut steps: Vec<Step> = faults
        .iter()
        .flat_map(|&fault| {
            [(fault.at_ms, true), (fault.at_ms + fault.lasts_ms, false)].map(|(at_ms, begins)| {
                Step {
                    at_ms,
                    fault,
                    begins,
                }
            })
        })
        .collect();
    // An end before a beginning of the same moment: no target has two faults at a time.
    steps.sort_by_key(|step| (step.at_ms, step.begins));
    steps
}

async fn wait_until_settled(broker: &Broker, name: &str) -> Result<()> {
    let until = Instant::now() + SETTLED_WITHIN;
    while !witness::tasks(broker, name).await?.is_empty() && Instant::now() < until {
        sleep(TEND_EVERY).await;
    }
    Ok(())
}

/// Leaves nothing behind, whatever is not finished.
async fn clear(stage: &mut Stage, name: &str) {
    use rustix::process::{Pid, Signal, kill_process};
    let _ = stage.heal().await;
    stage.submitter.kill();
    let _ = tokio::time::timeout(Duration::from_secs(5), stage.drain()).await;
    for (pid, _) in witness::processes(name) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
