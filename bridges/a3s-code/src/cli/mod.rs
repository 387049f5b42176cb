//! The command line: what is typed, and what it means.
//!
//! * `send`: the one verb. `app`: what it stands on. `local_workers`: those of `--local-workers`.
//! * `show`: what is printed. `failure`: exit statuses.

mod app;
mod failure;
mod local_workers;
mod send;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use a3s_code_fleet::{FleetOptions, FleetTool};
use a3s_shared::broker::Settings;
use a3s_shared::protocol::{DEFAULT_POOL, Route, Serves, Token};
use a3s_shared::runtime::{ConnectOptions, LogOptions, telemetry};
use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand};

use failure::Failure;

/// Run an A3S Code agent whose tools run on a fleet of workers
///
/// The agent thinks here; what it reads, searches and runs is done by workers, over NATS
/// JetStream. Which lanes leave this process is what the `queue` block of its configuration says;
/// without one, reads and commands do.
#[derive(Debug, Parser)]
#[command(
    name = "a3s-code-fleet",
    version,
    propagate_version = true,
    after_long_help = "\
Examples:
  a3s-code-fleet --config agent.acl --local-workers 3 send 'Search for all authentication functions'
  NATS_URL=nats://hub:4222 a3s-code-fleet --config agent.acl send 'Run all tests in parallel'
  a3s-code-fleet --config agent.acl --json send - < prompt.txt

Exit status: 0 done, 1 the agent failed, 2 usage, 3 broker or workers, 130 interrupted."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Send(send::Send),
}

/// What is typed beside the verb.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The agent's configuration
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "A3S_CODE_CONFIG",
        default_value = "agent.acl"
    )]
    config: PathBuf,

    /// Model to use, as provider/model [default: the configuration's]
    #[arg(long, global = true, value_name = "MODEL", env = "A3S_CODE_MODEL")]
    model: Option<String>,

    /// Offer a tool of the workers' own (a3s-worker --tool) to the model
    #[arg(long = "tool", global = true, env = "A3S_CODE_TOOLS", value_delimiter = ';',
        value_name = "NAME=DESCRIPTION", value_parser = tool)]
    tools: Vec<FleetTool>,

    /// Seconds that a call may wait for a worker when none serves its lane
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "A3S_CODE_PATIENCE",
        default_value_t = 5
    )]
    patience: u64,

    /// Print everything as JSON lines: the agent's events, and a line for each task
    #[arg(long, global = true, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,

    #[command(flatten)]
    session: SessionOptions,
    #[command(flatten)]
    local: local_workers::LocalWorkerOptions,
    #[command(flatten)]
    connect: ConnectOptions,
    #[command(flatten)]
    logs: LogOptions,
    #[command(flatten)]
    settings: Settings,
}

/// Whose tasks these are, and which workers take them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Session")]
struct SessionOptions {
    /// Session at the broker [default: a new one]
    #[arg(long, global = true, value_name = "ID", env = "A3S_SESSION", value_parser = session_id)]
    session: Option<String>,

    /// Pool whose workers take the tasks
    #[arg(long, global = true, value_name = "NAME", env = "A3S_POOL",
        default_value = DEFAULT_POOL, conflicts_with = "own")]
    pool: String,

    /// Only workers that were started for this session (a3s-worker --session-id) take the tasks
    #[arg(long, global = true, env = "A3S_OWN", value_parser = BoolishValueParser::new())]
    own: bool,
}

fn session_id(text: &str) -> Result<String, String> {
    let id = Token::new("session id", text).map_err(|error| error.to_string())?;
    Ok(id.into())
}

fn tool(text: &str) -> Result<FleetTool, String> {
    match text.split_once('=') {
        Some((name, about)) if !name.is_empty() && !about.is_empty() => {
            Ok(FleetTool::new(name, about))
        }
        _ => Err("write NAME=DESCRIPTION; the description is for the model".to_owned()),
    }
}

/// Whose tasks they are, decided.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    session: String,
    route: Route,
}

impl SessionOptions {
    fn target(&self) -> Target {
        let new = || Token::unique().into();
        Target {
            session: self.session.clone().unwrap_or_else(new),
            route: match self.own {
                true => Route::Own,
                false => Route::Pool(self.pool.clone()),
            },
        }
    }
}

impl Target {
    /// What workers must serve to take these tasks.
    fn serves(&self) -> Serves {
        match &self.route {
            Route::Pool(pool) => Serves::Pool(pool.clone()),
            Route::Own => Serves::Session(self.session.clone()),
        }
    }
}

impl Options {
    /// Adds what was typed to what the agent's configuration says of the fleet.
    fn refine(&self, options: FleetOptions, target: &Target) -> FleetOptions {
        let options = options
            .session_id(&target.session)
            .route(target.route.clone())
            .patience(Duration::from_secs(self.patience));
        self.tools.iter().cloned().fold(options, FleetOptions::tool)
    }
}

/// Does what the command line says; the result is the exit status.
pub(crate) async fn run(cli: Cli) -> u8 {
    // The agent's own library says at `warn` what it says to the model too.
    let level = tracing::level_filters::LevelFilter::ERROR;
    let logs = telemetry::init(&cli.options.logs, level);
    let outcome = match (logs, cli.verb) {
        (Err(error), _) => Err(Failure::usage(error)),
        (Ok(()), Verb::Send(send)) => send.run(&cli.options).await,
    };
    outcome.unwrap_or_else(|failure| failure.report())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_is_an_environment_variable_too() {
        let mut command = Cli::command();
        command.build();
        for option in command.get_opts() {
            let name = option.get_id().as_str();
            let builtin = ["help", "version"].contains(&name);
            assert!(builtin || option.get_env().is_some(), "--{name}");
        }
    }
}
