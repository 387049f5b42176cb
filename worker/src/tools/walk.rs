//! Walks a tree as ripgrep does: the same files, in the order of `--sort path`, shown by the
//! same paths. grep, glob and list_files share it.

use std::fs::File;
use std::path::{Path, PathBuf};

use ignore::overrides::OverrideBuilder;
use ignore::{DirEntry, WalkBuilder};
use serde::{Deserialize, Deserializer};

use crate::workspace::{PathError, Workspace};

/// Where to walk and what to leave out: a part of the payload of every tool that walks.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Scope {
    /// A directory, or one file. `None` is the root, and then paths are shown as `sub/file`; with
    /// `.` they are shown as `./sub/file`.
    #[serde(default)]
    pub path: Option<String>,
    /// As `rg -g`: files to take, or with `!` to leave out; the last one that fits decides.
    #[serde(default, deserialize_with = "one_or_many")]
    pub glob: Vec<String>,
    /// Whether hidden files and directories are taken.
    #[serde(default)]
    pub hidden: bool,
}

/// A file that the walk found.
#[derive(Debug)]
pub struct Found {
    /// The path as ripgrep shows it.
    pub shown: PathBuf,
    /// Whether it was named and not found below a directory.
    pub named: bool,
    entry: DirEntry,
}

impl Found {
    /// Its size in bytes; 0 when it has gone.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.entry.metadata().map_or(0, |m| m.len())
    }

    /// Opens it inside the workspace, and tells its size in bytes.
    ///
    /// # Errors
    /// When it has gone, or has become something that leads outside.
    pub fn open(&self, workspace: &Workspace) -> Result<(File, u64), PathError> {
        workspace.open_sized(&workspace.resolve(&self.shown)?)
    }
}

/// Why a walk could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// The path is missing or outside.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A glob is not one.
    #[error("{0}")]
    Glob(#[from] ignore::Error),
}

/// Every file of `scope`: honours .gitignore, .ignore and .rgignore, also those of the parents;
/// follows no symbolic link below the path. What cannot be read is an error that names it, and
/// the walk goes on.
///
/// # Errors
/// When the path is missing or outside, or a glob is malformed.
pub fn walk(
    workspace: &Workspace,
    scope: &Scope,
) -> Result<impl Iterator<Item = Result<Found, String>> + use<>, WalkError> {
    let path = workspace.resolve(scope.path.as_deref().unwrap_or(""))?;
    let start = workspace.real_path(&path)?;
    let mut globs = OverrideBuilder::new(workspace.root());
    for glob in &scope.glob {
        globs.add(glob)?;
    }
    let mut builder = WalkBuilder::new(&start);
    builder
        .current_dir(workspace.root())
        .hidden(!scope.hidden)
        .add_custom_ignore_filename(".rgignore")
        .overrides(globs.build()?)
        // Of one directory, so that the bytes of the names decide. The names themselves would be
        // taken out of the paths again for each comparison: a quarter of the walk.
        .sort_by_file_path(|a, b| a.as_os_str().cmp(b.as_os_str()));
    let shown = scope.path.as_deref().map(PathBuf::from);
    Ok(builder.build().filter_map(move |entry| match entry {
        Ok(entry) if is_searched(&entry) => Some(Ok(found(entry, &start, shown.as_deref()))),
        Ok(_) => None,
        Err(e) => Some(Err(complaint(&e, &start, shown.as_deref()))),
    }))
}

/// A path that was named is searched whatever it is, unless it is a directory; below it, files.
fn is_searched(entry: &DirEntry) -> bool {
    entry.file_type().is_some_and(|kind| {
        if entry.depth() == 0 {
            !kind.is_dir()
        } else {
            kind.is_file()
        }
    })
}

fn found(entry: DirEntry, start: &Path, shown: Option<&Path>) -> Found {
    let below = entry.path().strip_prefix(start).unwrap_or(entry.path());
    let named = below.as_os_str().is_empty();
    let shown = match shown {
        Some(shown) if named => shown.to_owned(),
        Some(shown) => shown.join(below),
        None => below.to_owned(),
    };
    Found {
        shown,
        named,
        entry,
    }
}

/// The error, with the path as the task knows it and not as this machine does.
fn complaint(error: &ignore::Error, start: &Path, shown: Option<&Path>) -> String {
    let shown = shown.unwrap_or(Path::new("."));
    let start = start.display().to_string();
    error.to_string().replace(&start, &shown.to_string_lossy())
}

/// A string, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a list of strings")]
    enum Globs {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Globs::deserialize(deserializer)? {
        Globs::One(glob) => vec![glob],
        Globs::Many(globs) => globs,
    })
}
