//! The command line. One file a verb; a verb parses and prints, the library does the work.
//!
//! * [`app`], [`session`], [`task`]: what verbs stand on: coordinator, session, one task's end.
//! * [`local_workers`]: the processes of `--local-workers`.
//! * [`sync`]: the tree that tasks run in.
//! * [`feed`], [`pump`] and [`order`]: many tasks at a time, their results in order.
//! * [`output`], [`failure`]: data, talk, exit statuses. [`duration`], [`payload`]: what is typed.
//! * [`listing`], [`moment`]: rows and times for people.

mod app;
mod batch;
mod bench;
mod chaos;
mod dlq;
mod doctor;
mod duration;
mod env;
mod failure;
mod feed;
mod init;
mod lanes;
mod listing;
mod local_workers;
mod map;
mod mcp;
mod moment;
mod order;
mod output;
mod payload;
mod pool;
mod pump;
mod search;
mod serve;
mod session;
mod sessions;
mod stats;
mod submit;
mod sync;
mod task;
mod tasks;
mod watch;
mod workers;
mod workspace;

use a3s_shared::runtime::telemetry;
use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use app::Globals;
use failure::{Failure, Kind};

/// Run tools, searches and commands on a fleet of workers
///
/// Tasks go to workers over NATS JetStream, and results come back the same way. A task that was
/// accepted survives the crash of any process. Without a server to talk to, one is started on
/// this machine and ends with this command.
#[derive(Debug, Parser)]
#[command(
    name = "a3s-coordinator",
    version,
    propagate_version = true,
    after_long_help = "\
Examples:
  a3s-coordinator --local-workers 3 search 'fn main' src
  a3s-coordinator submit read '{\"path\":\"README.md\"}'
  a3s-coordinator map 'cargo test -p {}' ::: shared worker
  a3s-coordinator serve --local-workers 4"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    globals: Globals,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::Serve),
    Env(env::Env),
    Init(init::Init),
    Submit(submit::Submit),
    Batch(batch::Batch),
    Search(search::Search),
    Map(map::Map),
    Mcp(mcp::Mcp),
    Workers(workers::Workers),
    #[command(name = "session")]
    Sessions(sessions::Sessions),
    #[command(name = "task")]
    Tasks(tasks::Tasks),
    #[command(name = "lane")]
    Lanes(lanes::Lanes),
    Pool(pool::Pool),
    Stats(stats::Stats),
    Watch(watch::Watch),
    Dlq(dlq::Dlq),
    #[command(name = "workspace")]
    Workspaces(workspace::Workspaces),
    Doctor(doctor::Doctor),
    Chaos(chaos::Chaos),
    Bench(bench::Bench),
}

/// Does what the command line says; the result is the exit status.
pub(crate) async fn run(cli: Cli) -> u8 {
    let globals = &cli.globals;
    if let Err(error) = telemetry::init(&globals.logs, LevelFilter::WARN) {
        return report(&Failure::usage(error.to_string()), None);
    }
    let (outcome, other) = match cli.verb {
        Verb::Serve(verb) => (verb.run(globals).await, None),
        Verb::Env(verb) => (verb.run(globals).await, None),
        Verb::Init(verb) => (verb.run(globals).await, None),
        Verb::Submit(verb) => (verb.run(globals).await, None),
        Verb::Batch(verb) => (verb.run(globals).await, None),
        Verb::Search(verb) => (verb.run(globals).await, Some(search::ERROR)),
        Verb::Map(verb) => (verb.run(globals).await, Some(map::ERROR)),
        Verb::Mcp(verb) => (verb.run(globals).await, None),
        Verb::Workers(verb) => (verb.run(globals).await, None),
        Verb::Sessions(verb) => (verb.run(globals).await, None),
        Verb::Tasks(verb) => (verb.run(globals).await, None),
        Verb::Lanes(verb) => (verb.run(globals).await, None),
        Verb::Pool(verb) => (verb.run(globals).await, None),
        Verb::Stats(verb) => (verb.run(globals).await, None),
        Verb::Watch(verb) => (verb.run(globals).await, None),
        Verb::Dlq(verb) => (verb.run(globals).await, None),
        Verb::Workspaces(verb) => (verb.run(globals).await, None),
        Verb::Doctor(verb) => (verb.run(globals).await, None),
        Verb::Chaos(verb) => (verb.run(globals).await, None),
        Verb::Bench(verb) => (verb.run(globals).await, None),
    };
    outcome.unwrap_or_else(|failure| report(&failure, other))
}

/// Says what went wrong. `other` is the status for errors of verbs that follow another program's
/// habit.
fn report(failure: &Failure, other: Option<u8>) -> u8 {
    if failure.kind() == Kind::ClosedOutput {
        return failure::DONE;
    }
    eprintln!("error: {failure}");
    other.unwrap_or_else(|| failure.status())
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
        for verb in command
            .get_subcommands()
            .filter(|verb| verb.get_name() != "help")
        {
            for option in verb.get_opts() {
                let name = option.get_id().as_str();
                let builtin = ["help", "version"].contains(&name);
                assert!(
                    builtin || option.get_env().is_some(),
                    "{} --{name}",
                    verb.get_name()
                );
            }
        }
    }

    #[test]
    fn every_verb_explains_itself_with_an_example() {
        for verb in Cli::command().get_subcommands() {
            let name = verb.get_name();
            assert!(verb.get_about().is_some(), "{name} has no short line");
            assert!(verb.get_long_about().is_some(), "{name} has no paragraph");
            let after = verb.get_after_long_help().map(ToString::to_string);
            assert!(
                after.is_some_and(|text| text.contains(name)),
                "{name} has no example"
            );
        }
    }
}
