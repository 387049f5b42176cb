//! `a3s-conformance`: tries a worker program against the wire, and says what it gets wrong.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use a3s_conformance::cases;
use a3s_conformance::report::{self, Verdict};
use a3s_conformance::rig::Command;
use a3s_conformance::suite::{self, Case, Level};
use a3s_conformance::wait::{PATIENCE, set_bound};
use clap::Parser;
use futures::StreamExt;

/// A case failed.
const FAILED: u8 = 1;
/// What was typed makes no sense.
const USAGE: u8 = 2;

/// Tries a worker program against the wire of A3S Distributed
///
/// Starts a real nats-server and the worker, plays coordinator, other workers and a broken network
/// against it, and says what it gets wrong. docs/conformance.md says what tools the worker needs.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Args {
    /// Cases whose name or topic contains this
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Cases for a basic worker: one lane, one tool, no heartbeat
    #[arg(long)]
    basic: bool,

    /// Print the cases and end
    #[arg(long)]
    list: bool,

    /// Print one JSON line a case
    #[arg(long)]
    json: bool,

    /// Cases at a time; most of the time they wait
    #[arg(long, short, default_value_t = 3, value_name = "N")]
    jobs: usize,

    /// Seconds that any one fact may take
    #[arg(long, default_value_t = PATIENCE.as_secs(), value_name = "SECONDS")]
    patience: u64,

    /// The worker's program and its arguments
    #[arg(last = true, value_name = "WORKER")]
    worker: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  a3s-conformance -- ./my-worker --quiet
  a3s-conformance --only drain -- python3 my_worker.py
  a3s-conformance --basic -- docs/examples/worker.sh";

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let cases = chosen(&args);
    if args.list {
        println!("{}", report::list(&cases));
        return ExitCode::SUCCESS;
    }
    if args.worker.is_empty() {
        return usage("no worker: name its program after --");
    }
    if cases.is_empty() {
        return usage(&format!(
            "no case is called {:?}: --list shows them",
            args.only
        ));
    }
    set_bound(Duration::from_secs(args.patience));
    // A panic of the testkit is a failed case, and told there.
    std::panic::set_hook(Box::new(|_| {}));
    let verdicts = tried(cases, &args).await;
    if !args.json {
        println!("{}", report::table(&verdicts));
    }
    let failed = verdicts.iter().filter(|v| !v.passed()).count();
    eprintln!("{failed} of {} cases failed", verdicts.len());
    if failed > 0 {
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

fn chosen(args: &Args) -> Vec<Case> {
    let mut cases = cases::all();
    cases.retain(|case| !args.basic || case.level == Level::Basic);
    let named = |case: &Case| {
        let has = |part: &String| case.name.contains(part.as_str()) || case.topic == part;
        args.only.is_empty() || args.only.iter().any(has)
    };
    cases.retain(named);
    cases
}

/// Runs them. Each is told as it ends, because the whole takes minutes.
async fn tried(cases: Vec<Case>, args: &Args) -> Vec<Verdict> {
    let command = Command {
        words: args.worker.clone().into(),
        basic: args.basic,
    };
    let mut verdicts = Vec::new();
    let mut running = std::pin::pin!(suite::run(cases, command, args.jobs));
    while let Some(verdict) = running.next().await {
        if args.json {
            println!("{}", verdict.json());
            let _ = io::stdout().flush();
        } else {
            tell(&verdict);
        }
        verdicts.push(verdict);
    }
    verdicts
}

fn tell(verdict: &Verdict) {
    match &verdict.failure {
        None => eprintln!("pass {}", verdict.name),
        Some(failure) => eprintln!("FAIL {}: {failure}", verdict.name),
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(USAGE)
}
