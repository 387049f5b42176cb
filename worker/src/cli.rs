//! What is typed at the command line, and what it means.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::broker::Settings;
use a3s_shared::protocol::signature::Role;
use a3s_shared::protocol::{DEFAULT_POOL, Serves, SessionLane, ToolInfo};
use a3s_shared::runtime::signing::read_trust;
use a3s_shared::runtime::{ConnectOptions, LogOptions, SigningOptions};
use clap::Parser;

use crate::config::{DEFAULT_DRAIN, WorkerConfig};
use crate::policy::Policy;
use crate::registry::Registry;
use crate::sandbox::{Mode, Sandbox, SandboxOptions};
use crate::tools;
use crate::tools::process::{Limits, parse_size};
use crate::tools::program::Program;
use crate::turn::{FARTHEST, Turn};

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

    /// With which key results are signed.
    #[command(flatten)]
    pub signing: SigningOptions,

    /// For streams and consumers that do not exist yet.
    #[command(flatten)]
    pub settings: Settings,

    /// Run only tasks that are signed by a key in this list
    ///
    /// A TOML file that says which key may ask for which sessions, lanes and tools; docs/security.md
    /// shows one. Everything else is answered `refused`.
    #[arg(long, env = "A3S_TRUST", value_name = "FILE")]
    pub trust: Option<PathBuf>,

    /// Serve the own lanes of one session
    #[arg(long, env = "SESSION_ID", value_name = "ID", conflicts_with = "pool")]
    pub session_id: Option<String>,

    /// Serve the sessions that are routed to this pool [default: default]
    #[arg(long, env = "A3S_POOL", value_name = "NAME")]
    pub pool: Option<String>,

    /// How far this worker is, 0 (nearest) to 9: a farther one gets what no nearer one has a slot for
    ///
    /// Makes the pool near-first, for all its workers; one that does not say is at 9.
    #[arg(
        long, env = "A3S_DISTANCE", value_name = "0..9",
        value_parser = clap::value_parser!(u8).range(0..=i64::from(FARTHEST)),
        conflicts_with_all = ["session_id", "help_when"]
    )]
    pub distance: Option<u8>,

    /// Help only: take a lane's tasks while at least N of them wait
    ///
    /// Makes the pool one that overflows. Somebody must serve it who is no helper: helpers alone
    /// leave the last N - 1 tasks of a lane where they are.
    #[arg(
        long, env = "A3S_HELP_WHEN", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "session_id"
    )]
    pub help_when: Option<u64>,

    /// Serve these lanes only: control, query, execute, generate
    #[arg(long, env = "A3S_LANES", value_delimiter = ',', value_name = "LANE,…")]
    pub lanes: Vec<SessionLane>,

    /// Tasks at a time, beside one of the Control lane [default: the number of cores]
    #[arg(long, short = 'j', env = "A3S_CONCURRENCY", value_name = "N")]
    pub concurrency: Option<usize>,

    /// The directory that tools may touch
    #[arg(long, env = "A3S_WORKSPACE", default_value = ".", value_name = "DIR")]
    pub workspace: PathBuf,

    /// Where the trees of tasks with `--sync` are kept [default: ~/.cache/a3s/workspaces]
    #[arg(long, env = "A3S_CACHE_DIR", value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,

    /// How large they may get: 512M, 20G; those not used for longest go [default: 10G]
    #[arg(long, env = "A3S_CACHE_SIZE", value_parser = parse_size, value_name = "SIZE")]
    pub cache_size: Option<u64>,

    /// Offer these built-in tools only
    #[arg(long, env = "A3S_TOOLS", value_delimiter = ',', value_name = "TOOL,…")]
    pub tools: Option<Vec<String>>,

    /// Offer a program of yours as a tool
    ///
    /// It gets the task as JSON on stdin and prints the result on stdout; exit 75 asks for
    /// another attempt.
    #[arg(long = "tool", value_parser = named, value_name = "NAME=PROGRAM")]
    pub programs: Vec<(String, String)>,

    /// Say in a JSON file what a tool of yours does, for agents that may call it
    ///
    /// `description`, `input_schema` (JSON Schema) and `annotations` (read_only, destructive,
    /// idempotent, open_world); each may be missing.
    #[arg(long = "tool-info", value_parser = named, value_name = "NAME=FILE")]
    pub infos: Vec<(String, String)>,

    /// Say something of this worker: region=eu
    #[arg(long = "label", env = "A3S_LABELS", value_delimiter = ',', value_parser = named, value_name = "KEY=VALUE")]
    pub labels: Vec<(String, String)>,

    /// The worker's name [default: a new unique one]
    #[arg(long, env = "A3S_WORKER_ID", value_name = "ID")]
    pub worker_id: Option<String>,

    /// Memory of each process of `bash` and of `--tool` programs: 512M, 2G [default: no limit]
    #[arg(long, env = "A3S_MAX_MEMORY", value_parser = parse_size, value_name = "SIZE")]
    pub max_memory: Option<u64>,

    /// Processor time of each such process, in seconds [default: no limit]
    #[arg(
        long, env = "A3S_MAX_CPU_SECONDS", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub max_cpu_seconds: Option<u64>,

    /// Processes of the worker's user, which must not be root [default: no limit]
    ///
    /// The kernel counts the processes and threads of a user, not those of a task: the worker's
    /// own and those of all its tasks, and whatever else the user runs.
    #[arg(
        long, env = "A3S_MAX_PROCESSES", value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub max_processes: Option<u64>,

    /// A file that says what tasks may do: tools, paths, network, environment, limits
    ///
    /// An empty file allows every tool, the workspace and nothing else. docs/security.md has all
    /// keys. Of a limit here and the same one as an option, the smaller holds.
    #[arg(long, env = "A3S_POLICY", value_name = "FILE")]
    pub policy: Option<PathBuf>,

    /// Have the kernel hold programs to the policy [default: auto with --policy, else off]
    ///
    /// Without --policy it is that of an empty file: programs see the workspace and the system's
    /// own directories, and have no network.
    #[arg(long, env = "A3S_SANDBOX", value_name = "WHEN")]
    pub sandbox: Option<Mode>,

    /// Run every program below this command instead: 'bwrap --ro-bind / / --unshare-all'
    #[arg(long, env = "A3S_WRAP", value_name = "COMMAND")]
    pub wrap: Option<String>,

    /// Seconds a drain waits for running tools before it stops them
    #[arg(long, env = "A3S_DRAIN", default_value_t = DEFAULT_DRAIN.as_secs(), value_name = "SECONDS")]
    pub drain: u64,
}

const EXAMPLES: &str = "\
Examples:
  a3s-worker                                   serve everyone in pool default
  a3s-worker --session-id abc123               serve one session (or SESSION_ID=abc123)
  a3s-worker --pool eu --lanes query -j 16     sixteen reads at a time, in pool eu
  a3s-worker --pool web --distance 5           in pool web, after those that are nearer
  a3s-worker --tool review=./review.py         offer a tool of your own
  a3s-worker --policy policy.toml              hold its tools to a policy
  a3s-worker --max-memory 2G --max-cpu-seconds 600   hold its programs to something";

fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}

impl Args {
    /// The worker that they mean. Its sandbox is made ready, and guards this process from now on.
    ///
    /// # Errors
    /// When a file of keys or the policy cannot be used, or the sandbox cannot be had; the text names
    /// it.
    pub fn config(&self) -> Result<WorkerConfig, String> {
        let defaults = WorkerConfig::default();
        let trust = self.trust.as_deref();
        Ok(WorkerConfig {
            worker_id: self.worker_id.clone().unwrap_or(defaults.worker_id),
            serves: match &self.session_id {
                Some(session) => Serves::Session(session.clone()),
                None => Serves::Pool(self.pool.clone().unwrap_or(DEFAULT_POOL.to_owned())),
            },
            turn: match (self.distance, self.help_when) {
                (Some(distance), _) => Turn::Distance(distance),
                (None, Some(waiting)) => Turn::HelpWhen(waiting),
                (None, None) => Turn::Any,
            },
            lanes: if self.lanes.is_empty() {
                defaults.lanes
            } else {
                self.lanes.clone()
            },
            concurrency: self.concurrency.unwrap_or(defaults.concurrency),
            workspace: self.workspace.clone(),
            cache_dir: self.cache_dir.clone(),
            cache_size: self.cache_size.unwrap_or(defaults.cache_size),
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            drain: Duration::from_secs(self.drain),
            settings: self.settings.clone(),
            sandbox: Arc::new(self.confinement()?),
            signing_key: self.signing.key().map_err(|e| e.to_string())?,
            trust: trust
                .map(|path| read_trust(path, Role::Coordinator))
                .transpose()
                .map_err(|e| e.to_string())?,
            ..defaults
        })
    }

    fn confinement(&self) -> Result<Sandbox, String> {
        let policy = self.policy.as_deref().map(Policy::read).transpose();
        let keys = [
            self.connect.creds.clone(),
            self.connect.nkey.clone(),
            self.connect.tls_key.clone(),
            self.signing.path(),
        ];
        let settings = [self.policy.clone(), self.trust.clone()];
        let options = SandboxOptions {
            policy: policy.map_err(|e| e.to_string())?,
            mode: self.sandbox,
            wrap: self.wrap.clone(),
            workspace: self.workspace.clone(),
            secrets: keys.into_iter().flatten().collect(),
            settings: settings.into_iter().flatten().collect(),
        };
        Sandbox::prepare(options).map_err(|e| e.to_string())
    }

    /// The tools that they mean.
    ///
    /// # Errors
    /// When a name is that of no built-in tool, or a limit cannot hold.
    pub fn registry(&self) -> Result<Registry, String> {
        let limits = self.limits()?;
        let mut registry = tools::builtin_within(limits);
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
            let program = Program::new(name, Path::new(command), limits);
            let program = program.map_err(|e| format!("cannot use {command}: {e}"))?;
            registry.add(program.described(self.info(name)?));
        }
        let unknown = |name: &&(String, String)| !self.programs.iter().any(|(p, _)| *p == name.0);
        if let Some((name, _)) = self.infos.iter().find(unknown) {
            return Err(format!(
                "--tool-info {name}=… describes no tool: name the program with --tool {name}=PROGRAM"
            ));
        }
        Ok(registry)
    }

    /// What is said of the program `name`.
    fn info(&self, name: &str) -> Result<ToolInfo, String> {
        let Some((_, path)) = self.infos.iter().find(|(described, _)| described == name) else {
            return Ok(ToolInfo::default());
        };
        let text = std::fs::read(path).map_err(|e| format!("cannot read {path}: {e}"))?;
        serde_json::from_slice(&text)
            .map_err(|e| format!("{path} does not describe a tool: {e}; see `a3s-worker --help`"))
    }

    /// What programs may use.
    ///
    /// # Errors
    /// When the kernel would not hold the worker's user to it.
    pub fn limits(&self) -> Result<Limits, String> {
        if self.max_processes.is_some() && rustix::process::getuid().is_root() {
            return Err(
                "--max-processes does not bind root: start the worker as another user".to_owned(),
            );
        }
        Ok(Limits {
            max_memory: self.max_memory,
            max_cpu_seconds: self.max_cpu_seconds,
            max_processes: self.max_processes,
        })
    }
}
