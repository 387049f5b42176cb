//! Which files a search is about: listed here where this machine sees what the workers see, else
//! by one of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use a3s_coordinator::Task;
use a3s_shared::protocol::{Presence, SessionLane};
use tokio_util::sync::CancellationToken;

use crate::cli::failure::Failure;
use crate::cli::local_workers::hostname;
use crate::cli::session::Opened;
use crate::cli::task;
use crate::search::place::{self, Place};
use crate::search::request::{Listed, listing_payload};
use crate::search::root::Root;
use crate::search::tree::{self, File, Listing};

use super::Plan;

/// How many places of workers an error names.
const PLACES: usize = 3;

/// The files of a search.
pub(super) struct Files {
    /// Below the root, in path order.
    pub(super) files: Vec<File>,
    /// How tasks name them, and how the user does.
    pub(super) root: Root,
    /// The user named this one file, which ripgrep then shows without its path.
    pub(super) single: bool,
    /// What could not be read.
    pub(super) errors: Vec<String>,
}

impl Files {
    fn of_file(root: Root) -> Self {
        let file = File {
            path: String::new(),
            size: 0,
        };
        Self {
            files: vec![file],
            root,
            single: true,
            errors: Vec::new(),
        }
    }

    fn of_tree(root: Root, listing: Listing) -> Self {
        Self {
            files: listing.files,
            root,
            single: false,
            errors: listing.errors,
        }
    }
}

/// Finds the files. Waits for a worker first: only their workspaces tell which tree is meant.
pub(super) async fn find(
    opened: &Opened,
    plan: &Plan,
    cancel: &CancellationToken,
) -> Result<Files, Failure> {
    opened
        .wait_for_worker(SessionLane::Query, plan.timeout_ms)
        .await?;
    let workers = opened.room.workers();
    if let Some(text) = place::disagreement(&workers) {
        eprintln!("warning: {text}");
    }
    let here = std::env::current_dir()
        .map_err(|e| Failure::usage(format!("the current directory cannot be read: {e}")))?;
    match place::find(plan.path.as_deref(), &here, &hostname(), &workers) {
        Place::File(root) => Ok(Files::of_file(root)),
        Place::Directory(directory, root) => {
            let listing = list_here(directory, here, plan).await?;
            Ok(Files::of_tree(root, listing))
        }
        Place::Remote => list_there(opened, plan, cancel, &workers).await,
    }
}

async fn list_here(directory: PathBuf, here: PathBuf, plan: &Plan) -> Result<Listing, Failure> {
    let filter = plan.filter.clone();
    let list = move || tree::list(&directory, &here, &filter);
    tokio::task::spawn_blocking(list)
        .await
        .map_err(Failure::broker)?
        .map_err(|e| Failure::usage(e.to_string()))
}

async fn list_there(
    opened: &Opened,
    plan: &Plan,
    cancel: &CancellationToken,
    workers: &[Presence],
) -> Result<Files, Failure> {
    let payload = listing_payload(plan.path.as_deref(), &plan.filter);
    let task = Task::new("list_files", payload).timeout_ms(plan.timeout_ms);
    let result = task::run(&opened.session, SessionLane::Query, task, cancel)
        .await
        .map_err(|none| Failure::broker(none.text()))?;
    if !result.success {
        let error = result.error.unwrap_or_default();
        return Err(Failure::usage(explain(&error, workers)));
    }
    let listed = Listed::read(result.result).map_err(Failure::broker)?;
    match &plan.path {
        Some(path) if listed.is_file() => {
            let root = Root::of_file(path, Path::new(path));
            let root = root.ok_or_else(|| Failure::usage(format!("{path}: not a path inside")))?;
            Ok(Files::of_file(root))
        }
        _ => Ok(Files::of_tree(Root::identity(), listed.into_listing())),
    }
}

/// Why there is nothing to search, and where the workers look. `error` names the path.
fn explain(error: &str, workers: &[Presence]) -> String {
    let places: BTreeSet<String> = workers
        .iter()
        .map(|worker| format!("{} on {}", worker.workspace, worker.host))
        .collect();
    let places: Vec<String> = places.into_iter().take(PLACES).collect();
    format!(
        "{error}; the workers see {}: name a path in there, or start them with --workspace",
        places.join(", ")
    )
}
