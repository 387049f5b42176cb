//! `--sync`: the tasks of a verb run in a copy of a directory of this machine.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;

use super::app::App;
use super::failure::Failure;
use super::local_workers::hostname;
use super::output::Progress;
use crate::workspace::push::{self, PushError, Pushed};

/// How many files that do not come along are named.
const NAMED: usize = 10;

/// Where tasks run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Workspace")]
pub(crate) struct SyncOptions {
    /// Send DIR to the workers as it is now, and run the tasks in it: they need no checkout
    /// [default: the current directory]
    ///
    /// Only what the broker lacks is sent. Ignored files (.gitignore, .ignore, .rgignore) and .git
    /// stay here; other hidden files come along.
    #[arg(
        long,
        value_name = "DIR",
        env = "A3S_SYNC",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "."
    )]
    sync: Option<PathBuf>,
}

impl SyncOptions {
    /// Sends the directory, if one is to be sent, and says so on standard error.
    pub(crate) async fn push(&self, app: &App) -> Result<Option<Pushed>, Failure> {
        match &self.sync {
            Some(directory) => push(app, directory).await.map(Some),
            None => Ok(None),
        }
    }
}

/// Sends `directory`, and says what that meant on standard error.
pub(crate) async fn push(app: &App, directory: &Path) -> Result<Pushed, Failure> {
    let named = directory.display();
    let root = directory.canonicalize().ok().filter(|root| root.is_dir());
    let root = root.ok_or_else(|| Failure::usage(format!("{named} is no directory to sync")))?;
    let progress = Progress::new(None, "files sent", false);
    let user = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let by = format!("{user}@{}", hostname());
    let broker = app.coordinator.broker();
    let pushing = push::push(broker, &root, &by, |sent, _| {
        progress.at(usize::try_from(sent.files).unwrap_or(usize::MAX));
    });
    let pushed = tokio::select! {
        pushed = pushing => pushed,
        () = app.shutdown.draining() => {
            return Err(Failure::broker(format!("interrupted before {named} was sent")));
        }
    };
    let pushed = pushed.map_err(|error| match error {
        PushError::Scan(_) | PushError::Send(push::SendError::Read(_)) => {
            Failure::usage(format!("{named} cannot be synced: {error}"))
        }
        _ => Failure::broker(format!("{named} cannot be synced: {error}")),
    })?;
    for line in pushed.skipped.iter().take(NAMED) {
        progress.say(line);
    }
    if pushed.skipped.len() > NAMED {
        let more = pushed.skipped.len() - NAMED;
        progress.say(&format!("and {more} more were left out"));
    }
    progress.say(&said(&pushed));
    Ok(pushed)
}

/// One line on a sync.
fn said(pushed: &Pushed) -> String {
    format!(
        "synced {} files in {:.2} s, sent {} ({}, {} on the network): {}",
        pushed.manifest.entries().len(),
        pushed.took.as_secs_f64(),
        pushed.sent_files,
        HumanBytes(pushed.sent_bytes),
        HumanBytes(pushed.network_bytes),
        &pushed.digest.hex()[..12],
    )
}
