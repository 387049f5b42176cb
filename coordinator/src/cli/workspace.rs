//! `workspace`: the trees that tasks run in.

use std::path::PathBuf;
use std::time::Duration;

use a3s_shared::broker::TreeKind;
use a3s_shared::protocol::clock;
use clap::builder::BoolishValueParser;
use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde_json::json;

use super::app::{App, Globals};
use super::failure::{DONE, Failure};
use super::listing::listing;
use super::moment::ago;
use super::output::Output;
use super::{duration, sync};
use crate::workspace::gc;

/// How many digits of a digest people see.
const SHORT: usize = 12;

/// Send a directory to the workers, list what was sent, and remove it
///
/// `search`, `map` and `batch` do it themselves with --sync. A directory that was sent is kept for a
/// week after the last time; `docs/workspaces.md` has the whole story.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator workspace push .
  a3s-coordinator workspace ls
  a3s-coordinator workspace gc --older-than 24h --delete")]
pub(crate) struct Workspaces {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Send a directory and print its digest
    Push(Push),
    /// List the directories that were sent, and how many tasks need each
    Ls(Ls),
    /// Remove what is old and needed by no task; without --delete only say what that would be
    Gc(Gc),
}

#[derive(Debug, Args)]
struct Push {
    /// The directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// JSON instead of the digest alone
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
struct Ls {
    /// One JSON object a line
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

#[derive(Debug, Args)]
struct Gc {
    /// Keep what was sent within this time; less than a sync and its tasks take is dangerous
    #[arg(long, value_name = "TIME", env = "A3S_OLDER_THAN", default_value = "72h", value_parser = duration::parse)]
    older_than: Duration,
    /// Remove it
    #[arg(long, env = "A3S_DELETE", value_parser = BoolishValueParser::new())]
    delete: bool,
}

impl Workspaces {
    /// Does it.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| match &self.action {
            Action::Push(verb) => verb.run(app).await,
            Action::Ls(verb) => verb.run(app).await,
            Action::Gc(verb) => verb.run(app).await,
        })
        .await
    }
}

impl Push {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        let pushed = sync::push(app, &self.directory).await?;
        let mut output = Output::new();
        if !self.json {
            output.line(&pushed.digest.hex()).await?;
            return Ok(DONE);
        }
        let value = json!({
            "digest": pushed.digest,
            "root": pushed.root,
            "files": pushed.manifest.entries().len(),
            "bytes": pushed.manifest.bytes(),
            "read_files": pushed.read,
            "sent_files": pushed.sent_files,
            "sent_bytes": pushed.sent_bytes,
            "network_bytes": pushed.network_bytes,
            "skipped": pushed.skipped,
            "seconds": pushed.took.as_secs_f64(),
        });
        output.json(&value).await?;
        Ok(DONE)
    }
}

impl Ls {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        let broker = app.coordinator.broker();
        let trees = broker.trees(TreeKind::Whole).await;
        let trees = trees.map_err(Failure::broker)?;
        let needed = gc::needed(broker).await.map_err(Failure::broker)?;
        let tasks = |digest| needed.get(digest).copied().unwrap_or(0);
        let mut output = Output::new();
        if self.json {
            for tree in &trees {
                let head = &tree.head;
                let value = json!({
                    "digest": tree.digest,
                    "at_ms": head.at_ms,
                    "files": head.files,
                    "bytes": head.bytes,
                    "by": head.by,
                    "root": head.root,
                    "tasks": tasks(&tree.digest),
                });
                output.json(&value).await?;
            }
        } else if trees.is_empty() {
            eprintln!("there is none; send one: a3s-coordinator workspace push DIR");
        } else {
            let now = clock::now_ms();
            let rows = trees.iter().map(|tree| {
                let head = &tree.head;
                [
                    tree.digest.hex()[..SHORT].to_owned(),
                    ago(head.at_ms, now),
                    head.files.to_string(),
                    HumanBytes(head.bytes).to_string(),
                    head.by.clone(),
                    head.root.clone(),
                    tasks(&tree.digest).to_string(),
                ]
            });
            let header = ["digest", "sent", "files", "size", "by", "from", "tasks"];
            output.line(&listing(header, rows)).await?;
        }
        Ok(DONE)
    }
}

impl Gc {
    async fn run(&self, app: &App) -> Result<u8, Failure> {
        let broker = app.coordinator.broker();
        let age_ms = duration::milliseconds(self.older_than);
        let before_ms = clock::now_ms().saturating_sub(age_ms);
        let garbage = gc::find(broker, before_ms).await.map_err(Failure::broker)?;
        let mut output = Output::new();
        for (digest, tasks) in &garbage.needed {
            eprintln!("kept {digest}: {tasks} tasks need it");
        }
        for tree in &garbage.trees {
            let what = match tree.kind {
                TreeKind::Whole => "tree",
                TreeKind::Changes => "changes",
            };
            let line = format!("{what} {} from {}", tree.digest, tree.head.by);
            output.line(&line).await?;
        }
        let (trees, packs) = (garbage.trees.len(), garbage.packs.len());
        if self.delete {
            gc::remove(broker, &garbage)
                .await
                .map_err(Failure::broker)?;
            eprintln!("removed {trees} trees and {packs} packs");
        } else {
            eprintln!("{trees} trees and {packs} packs would be removed; do it with --delete");
        }
        Ok(DONE)
    }
}
