//! `search`: ripgrep over a fleet. This file is what was typed; [`run`] does it, [`files`] finds
//! out which files there are.

mod files;
mod run;

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;
use grep_regex::RegexMatcherBuilder;

use crate::search::request::{Mode, Query};
use crate::search::tree::Filter;

use super::app::{App, Globals};
use super::duration;
use super::failure::{FAILED, Failure};
use super::session::{SessionOptions, Target};
use super::sync::SyncOptions;

/// The exit status for anything that went wrong, as ripgrep's.
pub(crate) const ERROR: u8 = 2;
/// Nothing was found.
const NOTHING: u8 = FAILED;

/// Search a source tree with all workers at once
///
/// The output is that of `rg -n --no-heading --sort path PATTERN [PATH]`, to the byte: the same
/// files (.gitignore, .ignore and .rgignore honoured, hidden and binary ones skipped), lines and
/// order. The tree is the one that the workers see; where this machine has none, a worker lists it.
/// Exit status as ripgrep's: 0 found, 1 nothing found, 2 an error.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator --local-workers 3 search 'fn main' src
  a3s-coordinator search -i -C2 -g '*.rs' 'todo|fixme'
  a3s-coordinator search --sync 'fn main'            workers without a checkout")]
pub(crate) struct Search {
    /// Regular expression, as ripgrep takes
    pattern: String,

    /// Directory or file to search [default: the current directory]
    path: Option<String>,

    /// Upper and lower case alike
    #[arg(short, long, env = "A3S_IGNORE_CASE", value_parser = BoolishValueParser::new())]
    ignore_case: bool,

    /// Print only the paths of files with a match
    #[arg(short = 'l', long, env = "A3S_FILES_WITH_MATCHES", value_parser = BoolishValueParser::new())]
    files_with_matches: bool,

    /// Print only how many lines match in each file that has one
    #[arg(short, long, env = "A3S_COUNT", value_parser = BoolishValueParser::new())]
    count: bool,

    /// Only files that match GLOB; with a leading ! only others. May be repeated, the last wins
    #[arg(short, long, value_name = "GLOB", env = "A3S_GLOB")]
    glob: Vec<String>,

    /// Lines to show around each match
    #[arg(
        short = 'C',
        long,
        value_name = "N",
        env = "A3S_CONTEXT_LINES",
        default_value_t = 0
    )]
    context_lines: u32,

    /// Also hidden files and directories
    #[arg(long, env = "A3S_HIDDEN", value_parser = BoolishValueParser::new())]
    hidden: bool,

    /// One JSON object a line: {"path","line","text"}, {"path"} with -l, {"path","count"} with -c
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,

    /// Say on standard error what was found and searched, in how many tasks, by which workers
    #[arg(long, env = "A3S_STATS", value_parser = BoolishValueParser::new())]
    stats: bool,

    /// Tasks at a time [default: what the workers have slots for]
    #[arg(short, long, value_name = "N", env = "A3S_JOBS")]
    jobs: Option<NonZeroUsize>,

    /// Time each part of the search may take
    #[arg(long, value_name = "TIME", env = "A3S_TIMEOUT", default_value = "60s", value_parser = duration::parse)]
    timeout: Duration,

    #[command(flatten)]
    sync: SyncOptions,

    #[command(flatten)]
    session: SessionOptions,
}

/// What the command line means.
struct Plan {
    query: Query,
    filter: Filter,
    path: Option<String>,
    json: bool,
    stats: bool,
    jobs: Option<usize>,
    timeout_ms: u64,
    sync: SyncOptions,
    target: Target,
}

impl Search {
    /// Searches.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let plan = self.plan()?;
        let serves = plan.target.serves();
        App::run(globals, &serves, async move |app| run::run(app, plan).await).await
    }

    fn plan(self) -> Result<Plan, Failure> {
        let query = Query {
            mode: match (self.count, self.files_with_matches) {
                // ripgrep's choice where both are given.
                (true, _) => Mode::Count,
                (_, true) => Mode::Files,
                _ => Mode::Content,
            },
            pattern: self.pattern,
            ignore_case: self.ignore_case,
            context: self.context_lines,
        };
        check(&query)?;
        Ok(Plan {
            query,
            filter: Filter {
                globs: self.glob,
                hidden: self.hidden,
            },
            path: self.path,
            json: self.json,
            stats: self.stats,
            jobs: self.jobs.map(NonZeroUsize::get),
            timeout_ms: duration::milliseconds(self.timeout),
            sync: self.sync,
            target: self.session.target(),
        })
    }
}

/// Refuses a malformed pattern here, once, instead of on every worker.
fn check(query: &Query) -> Result<(), Failure> {
    RegexMatcherBuilder::new()
        .multi_line(true)
        .case_insensitive(query.ignore_case)
        .line_terminator(Some(b'\n'))
        .build(&query.pattern)
        .map(drop)
        .map_err(|e| Failure::usage(e.to_string()))
}
