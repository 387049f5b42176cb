//! `chaos`: does work while everything is broken, and checks that nothing was lost.
//!
//! * [`stand`]: the server, the coordinator and the directory of a run. [`told`]: what is printed.

mod stand;
mod told;

use std::path::{Path, PathBuf};
use std::time::Duration;

use a3s_coordinator::Coordinator;
use a3s_shared::protocol::{Token, clock};
use a3s_shared::runtime::Shutdown;
use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum as _};
use serde_json::json;

use crate::chaos::cast::Cast;
use crate::chaos::checks;
use crate::chaos::ledger::Ledger;
use crate::chaos::ledger::lines::Run;
use crate::chaos::page;
use crate::chaos::plan::{Fault, Harm, plan};
use crate::chaos::submitter::submit_all;
use crate::chaos::summary::Summary;
use crate::chaos::supervisor::{Ended, Setting, prepare, supervise};

use super::app::Globals;
use super::duration::milliseconds;
use super::failure::{DONE, FAILED, Failure, INTERRUPTED};
use super::local_workers::{PROGRAM, find};
use super::output::{Output, Progress};
use stand::{Kept, Stand};
use told::told;

/// Tasks a second, unless --minutes says otherwise: so few that faults hit a fleet that works, and
/// not one that drowns.
const TASKS_A_SECOND: f64 = 150.0;

/// Kill, freeze and cut everything at random while tasks run, and check that nothing is lost
///
/// Starts a nats-server of its own, workers, and a process that submits; kills, freezes and
/// disconnects them by a plan that the seed decides; heals everything, waits for the last answer,
/// and compares what the tool, the caller and the broker saw with what is promised. Exit status: 0
/// every invariant holds, 1 one is broken (the seed and the tasks are named, and the ledger is
/// kept), 2 usage, 3 the run could not be done. With --nats-url an existing server is used, and
/// only workers and the submitting process are hurt. The workers need bash 5.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator chaos
  a3s-coordinator chaos --seed 7 --tasks 100000 --report chaos.html
  a3s-coordinator chaos --faults worker-kill,cut --minutes 5
  a3s-coordinator chaos --worker-command 'python -m a3s_worker'")]
pub(crate) struct Chaos {
    /// How many tasks
    #[arg(long, value_name = "N", env = "A3S_CHAOS_TASKS", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    tasks: u32,

    /// Over how many minutes they are spread [default: 150 tasks a second]
    #[arg(long, value_name = "M", env = "A3S_CHAOS_MINUTES", value_parser = minutes)]
    minutes: Option<f64>,

    /// What tasks and faults are made from; the same seed is the same plan [default: a new one]
    #[arg(long, value_name = "S", env = "A3S_CHAOS_SEED")]
    seed: Option<u64>,

    /// Workers of ours; the last one serves the session that has its own
    #[arg(long, value_name = "W", env = "A3S_CHAOS_WORKERS", default_value_t = 4, value_parser = clap::value_parser!(u32).range(2..=64))]
    workers: u32,

    /// Tasks that are under way at a time
    #[arg(long, value_name = "C", env = "A3S_CHAOS_CONCURRENCY", default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,

    /// Also start this worker, with NATS_URL, A3S_WORKER_ID, A3S_WORKSPACE, A3S_CONCURRENCY and
    /// A3S_CHAOS_TOOL (a program to offer as the tool `attempt`) in its environment
    #[arg(long, value_name = "CMD", env = "A3S_CHAOS_WORKER_COMMAND")]
    worker_command: Vec<String>,

    /// Only these faults [default: all]
    #[arg(
        long,
        value_name = "LIST",
        env = "A3S_CHAOS_FAULTS",
        value_delimiter = ','
    )]
    faults: Vec<Harm>,

    /// Write a report, one HTML file
    #[arg(long, value_name = "FILE.html", env = "A3S_CHAOS_REPORT")]
    report: Option<PathBuf>,

    /// Keep the ledger and the logs in this new directory [default: only when an invariant breaks]
    #[arg(long, value_name = "DIR", env = "A3S_CHAOS_LEDGER")]
    ledger: Option<PathBuf>,

    /// Only check the ledger of an earlier run again
    #[arg(long, value_name = "DIR", env = "A3S_CHAOS_CHECK", conflicts_with_all = ["ledger", "seed"])]
    check: Option<PathBuf>,

    /// The plan, the numbers and all offences as one JSON object
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,

    /// Be the process that submits
    #[arg(long, hide = true, value_name = "DIR", env = "A3S_CHAOS_SUBMITTER")]
    submitter: Option<PathBuf>,
}

fn minutes(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=100_000.0).contains(&value) => Ok(value),
        _ => Err("a number of minutes, at least 0.01".to_owned()),
    }
}

impl Chaos {
    /// Does the run, or the part of it that was asked for.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        if let Some(dir) = &self.submitter {
            return submit(globals, dir).await;
        }
        if let Some(dir) = &self.check {
            return self.judge(dir, "unknown").await;
        }
        let kept = Kept::new(self.ledger.as_deref())?;
        let shutdown = Shutdown::listen().map_err(Failure::broker)?;
        let stand = Stand::connect(globals, &kept.path).await?;
        let outcome = self.run_on(stand, &kept.path, &shutdown).await;
        match outcome {
            Ok(DONE | INTERRUPTED) => outcome,
            _ => {
                eprintln!("the ledger is in {}", kept.keep().display());
                outcome
            }
        }
    }

    async fn run_on(&self, stand: Stand, dir: &Path, shutdown: &Shutdown) -> Result<u8, Failure> {
        let Stand {
            server,
            coordinator,
            join,
            lease,
            version,
        } = stand;
        let (run, faults) = self.planned(server.is_some(), lease);
        prepare(dir, &run).map_err(Failure::broker)?;
        let progress = Progress::new(Some(run.tasks), "results", self.json);
        if !self.json {
            let count = faults.len();
            progress.say(&format!(
                "seed {}: {} tasks, {count} faults planned",
                run.seed, run.tasks
            ));
        }
        let setting = Setting {
            cast: self.cast(join)?,
            run,
            faults,
            dir,
            server,
            coordinator,
        };
        let ended = supervise(setting, shutdown, |told| progress.at(told)).await;
        drop(progress);
        match ended.map_err(|error| Failure::broker(format!("{error:#}")))? {
            Ended::Complete => self.judge(dir, &version).await,
            Ended::Interrupted => Ok(INTERRUPTED),
        }
    }

    /// What is asked for, and what is to be broken meanwhile.
    fn planned(&self, owns_server: bool, lease: Duration) -> (Run, Vec<Fault>) {
        let seed = self.seed.unwrap_or_else(|| rand::random::<u32>().into());
        let seconds = self
            .minutes
            .map_or(f64::from(self.tasks) / TASKS_A_SECOND, |m| m * 60.0);
        let span_ms = milliseconds(Duration::from_secs_f64(seconds));
        let run = Run {
            name: format!("chaos-{seed}-{}", Self::suffix()),
            seed,
            tasks: self.tasks as usize,
            concurrency: self.concurrency as usize,
            span_ms,
            began_ms: clock::local_now_ms(),
            lease_ms: milliseconds(lease),
        };
        let mut harms = match self.faults.is_empty() {
            true => Harm::value_variants().to_vec(),
            false => self.faults.clone(),
        };
        harms.retain(|harm| owns_server || harm.spares_the_server());
        let workers = self.workers as usize + self.worker_command.len();
        let faults = plan(seed, run.span_ms, workers, &harms);
        (run, faults)
    }

    /// What tells runs of the same seed apart: the end of a unique id, which is its random part.
    fn suffix() -> String {
        let id = String::from(Token::unique());
        id[id.len().saturating_sub(8)..].to_owned()
    }

    fn cast(&self, join: Vec<(String, String)>) -> Result<Cast, Failure> {
        let workers = self.workers as usize;
        Ok(Cast {
            coordinator: std::env::current_exe().map_err(Failure::broker)?,
            worker: find(PROGRAM)?,
            workers,
            others: self.worker_command.clone(),
            slots: (self.concurrency as usize).div_ceil(workers),
            join,
        })
    }

    /// Checks a ledger and tells what is in it.
    async fn judge(&self, dir: &Path, version: &str) -> Result<u8, Failure> {
        let ledger = Ledger::read(dir).map_err(|error| Failure::usage(format!("{error:#}")))?;
        let findings = checks::check(&ledger);
        let summary = Summary::of(&ledger, &findings);
        if let Some(path) = &self.report {
            let written = page::page(&ledger, &summary, &findings, version).write(path);
            written.map_err(|error| Failure::output(&path.display().to_string(), &error))?;
        }
        let mut output = Output::new();
        match self.json {
            true => {
                let faults: Vec<_> = ledger.faults.iter().map(|struck| struck.fault).collect();
                let whole = json!({
                    "seed": ledger.run.seed,
                    "plan": faults,
                    "summary": summary,
                    "invariants": findings,
                });
                output.json(&whole).await?;
            }
            false => output.line(&told(&ledger, &summary, &findings)).await?,
        }
        match findings.iter().all(|finding| finding.offences.is_empty()) {
            true => Ok(DONE),
            false => Ok(FAILED),
        }
    }
}

/// The submitting process's whole life.
async fn submit(globals: &Globals, dir: &Path) -> Result<u8, Failure> {
    let connection = globals.connect(false).await?;
    let (settings, signatures) = (globals.settings.clone(), globals.signatures()?);
    let started = Coordinator::start_signed(connection, settings, signatures).await;
    let coordinator = started.map_err(Failure::broker)?;
    let submitted = submit_all(&coordinator, dir).await;
    coordinator.close().await;
    submitted.map_err(|error| Failure::broker(format!("{error:#}")))?;
    Ok(DONE)
}
