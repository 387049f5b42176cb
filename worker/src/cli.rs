//! What is typed at the command line, and what it means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use a3s_shared::broker::Settings;
use a3s_shared::protocol::{DEFAULT_POOL, Serves, SessionLane};
use a3s_shared::runtime::{ConnectOptions, LogOptions};
use clap::Parser;

use crate::config::{DEFAULT_DRAIN, WorkerConfig};
use crate::registry::Registry;
use crate::tools;
use crate::tools::process::Limits;
use crate::tools::program::Program;

/// Runs tasks of A3S sessions
///
/// Pulls tasks from NATS JetStream, runs them with its tools inside its workspace, and publishes
/// their results. Started with nothing, it serves pool `default`, all lanes and all sessions.
/// SIGTERM drains it: it finishes what runs and takes nothing new; a second one stops it now, and
/// what ran is given back.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// Which server, and as whom.
    #[command(flatten)]
    pub connect: ConnectOptions,

    /// What is logged, and how.
    #[command(flatten)]
    pub log: LogOptions,

    /// For streams and consumers that do not exist yet.
    #[command(flatten)]
    pub settings: Settings,

    /// Serve the own lanes of one session
    #[arg(long, env = "SESSION_ID", value_name = "ID", conflicts_with = "pool")]
    pub session_id: Option<String>,

    /// Serve the sessions that are routed to this pool [default: default]
    #[arg(long, env = "A3S_POOL", value_name = "NAME")]
    pub pool: Option<String>,

    /// Serve these lanes only: control, query, execute, generate
    #[arg(long, env = "A3S_LANES", value_delimiter = ',', value_name = "LANE,…")]
    pub lanes: Vec<SessionLane>,

    /// Tasks at a time, beside one of the Control lane [default: the number of cores]
    #[arg(long, short = 'j', env = "A3S_CONCURRENCY", value_name = "N")]
    pub concurrency: Option<usize>,

    /// The directory that tools may touch
    #[arg(long, env = "A3S_WORKSPACE", default_value = ".", value_name = "DIR")]
    pub workspace: PathBuf,

    /// Offer these built-in tools only
    #[arg(long, env = "A3S_TOOLS", value_delimiter = ',', value_name = "TOOL,…")]
    pub tools: Option<Vec<String>>,

    /// Offer a program of yours as a tool
    ///
    /// It gets the task as JSON on stdin and prints the result on stdout; exit 75 asks for
    /// another attempt.
    #[arg(long = "tool", value_parser = named, value_name = "NAME=PROGRAM")]
    pub programs: Vec<(String, String)>,

    /// Say something of this worker: region=eu
    #[arg(long = "label", env = "A3S_LABELS", value_delimiter = ',', value_parser = named, value_name = "KEY=VALUE")]
    pub labels: Vec<(String, String)>,

    /// The worker's name [default: a new unique one]
    #[arg(long, env = "A3S_WORKER_ID", value_name = "ID")]
    pub worker_id: Option<String>,

    /// Seconds a drain waits for running tools before it stops them
    #[arg(long, env = "A3S_DRAIN", default_value_t = DEFAULT_DRAIN.as_secs(), value_name = "SECONDS")]
    pub drain: u64,
}

const EXAMPLES: &str = "\
Examples:
  a3s-worker                                   serve everyone in pool default
  a3s-worker --session-id abc123               serve one session (or SESSION_ID=abc123)
  a3s-worker --pool eu --lanes query -j 16     sixteen reads at a time, in pool eu
  a3s-worker --tool review=./review.py         offer a tool of your own";

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

impl Args {
    /// The worker that they mean.
    #[must_use]
    pub fn config(&self) -> WorkerConfig {
        let defaults = WorkerConfig::default();
        WorkerConfig {
            worker_id: self.worker_id.clone().unwrap_or(defaults.worker_id),
            serves: match &self.session_id {
                Some(session) => Serves::Session(session.clone()),
                None => Serves::Pool(self.pool.clone().unwrap_or(DEFAULT_POOL.to_owned())),
            },
            lanes: if self.lanes.is_empty() {
                defaults.lanes
            } else {
                self.lanes.clone()
            },
            concurrency: self.concurrency.unwrap_or(defaults.concurrency),
            workspace: self.workspace.clone(),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            drain: Duration::from_secs(self.drain),
            settings: self.settings.clone(),
            steps: defaults.steps,
        }
    }

    /// The tools that they mean.
    ///
    /// # Errors
    /// When a name is that of no built-in tool.
    pub fn registry(&self) -> Result<Registry, String> {
        let mut registry = tools::builtin();
        if let Some(keep) = &self.tools {
            let known = registry.names();
            if let Some(unknown) = keep.iter().find(|name| !known.contains(name)) {
                return Err(format!(
                    "unknown tool {unknown:?}: the built-in ones are {}",
                    known.join(", ")
                ));
            }
            registry.retain(keep);
        }
        for (name, command) in &self.programs {
            let program = Program::new(name, Path::new(command), Limits::default());
            registry.add(program.map_err(|e| format!("cannot use {command}: {e}"))?);
        }
        Ok(registry)
    }
}
