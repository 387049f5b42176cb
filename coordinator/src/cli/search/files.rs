//! Which files a search is about: listed here where this machine sees what the workers see, else
//! by one of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use a3s_coordinator::Task;
use a3s_shared::protocol::{Presence, SessionLane};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::cli::failure::Failure;
use crate::cli::local_workers::hostname;
use crate::cli::session::Opened;
use crate::cli::task;
use crate::search::place::{self, Place};
use crate::search::plan::{Chunk, Planner};
use crate::search::request::{Listed, listing_payload};
use crate::search::root::Root;
use crate::search::tree::{self, File};

use super::Plan;
use crate::workspace::push::Pushed;

/// How many tasks may be planned before their turn.
const AHEAD: usize = 1_024;

/// How many places of workers an error names.
const PLACES: usize = 3;

/// Files while they are found, in path order; an error is a sentence on what could not be read.
pub(super) type Walk = Box<dyn Iterator<Item = Result<File, String>> + Send>;

/// The files of a search.
pub(super) struct Files {
    /// How tasks name them, and how the user does.
    pub(super) root: Root,
    /// The user named this one file, which ripgrep then shows without its path.
    pub(super) single: bool,
    /// What there is.
    pub(super) walk: Walk,
}

impl Files {
    fn of_file(root: Root) -> Self {
        let file = File {
            path: String::new(),
            size: 0,
        };
        Self {
            root,
            single: true,
            walk: Box::new(std::iter::once(Ok(file))),
        }
    }

    fn of_tree(
        root: Root,
        walk: impl Iterator<Item = Result<File, String>> + Send + 'static,
    ) -> Self {
        Self {
            root,
            single: false,
            walk: Box::new(walk),
        }
    }
}

/// Makes tasks of what `walk` finds, for a fleet of `slots` slots, on a thread of its own: the
/// first ones are searched while the others are being found. The thread ends when nobody takes
/// them any more; only its handle tells whether it found everything or failed.
pub(super) fn steps(walk: Walk, slots: usize) -> (mpsc::Receiver<Step>, JoinHandle<()>) {
    let (sender, steps) = mpsc::channel(AHEAD);
    let walking = tokio::task::spawn_blocking(move || {
        let mut planner = Planner::new(slots);
        for file in walk {
            let step = match file {
                Ok(file) => planner.add(file).map(Step::Search),
                Err(error) => Some(Step::Unreadable(error)),
            };
            let unwanted = step.is_some_and(|step| sender.blocking_send(step).is_err());
            if unwanted || sender.is_closed() {
                return;
            }
        }
        let last = planner.finish().map(Step::Search);
        let _ = last.map(|step| sender.blocking_send(step));
    });
    (steps, walking)
}

/// What a walk comes to, next.
pub(super) enum Step {
    /// Files to search.
    Search(Chunk),
    /// Something cannot be read: a sentence.
    Unreadable(String),
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
            let walk = walk_here(directory, &here, plan)?;
            Ok(Files::of_tree(root, walk))
        }
        Place::Remote => list_there(opened, plan, cancel, &workers).await,
    }
}

/// Finds the files in a tree that was synced: those of this machine, as they are in it.
pub(super) fn find_synced(tree: &Arc<Pushed>, plan: &Plan) -> Result<Files, Failure> {
    let here = std::env::current_dir()
        .map_err(|e| Failure::usage(format!("the current directory cannot be read: {e}")))?;
    let outside = || {
        let (path, root) = (plan.path.as_deref().unwrap_or("."), tree.root.display());
        Failure::usage(format!("{path} is not in {root}, which was synced"))
    };
    let place = place::find_in(plan.path.as_deref(), &here, &tree.root);
    match place.ok_or_else(outside)? {
        Place::File(root) if tree.manifest.get(&root.sent).is_some() => Ok(Files::of_file(root)),
        Place::Directory(directory, root) => {
            let walk = walk_here(directory, &here, plan)?;
            let (tree, place) = (Arc::clone(tree), root.clone());
            // What came since the sync is no part of it.
            let synced = move |file: &Result<File, String>| match file {
                Ok(file) => tree.manifest.get(&place.send(&file.path)).is_some(),
                Err(_) => true,
            };
            Ok(Files::of_tree(root, walk.filter(synced)))
        }
        Place::File(_) | Place::Remote => Err(outside()),
    }
}

fn walk_here(
    directory: PathBuf,
    here: &Path,
    plan: &Plan,
) -> Result<impl Iterator<Item = Result<File, String>> + use<>, Failure> {
    // As ripgrep walks: from here, by the shorter paths, for the system looks each of them up.
    let near = directory.strip_prefix(here).ok();
    let near = near.map(|below| Path::new(".").join(below));
    let root = near.unwrap_or(directory);
    tree::walk(root, here, &plan.filter).map_err(|e| Failure::usage(e.to_string()))
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
        _ => Ok(Files::of_tree(Root::identity(), listed.into_files())),
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
