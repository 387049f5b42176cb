//! What tasks changed, written here: into the tree that was synced, or into another directory.
//!
//! Nothing is written outside of it: a worker's answer is no more to be trusted than any other, so
//! its manifest is checked, `.git` is refused (a hook in there would be run), and every operation
//! goes through a directory handle that the kernel holds to its tree. A path that two jobs changed
//! differently, or that somebody changed here since the sync, is a conflict: who came first stays.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use a3s_shared::broker::{Broker, TreeKind};
use a3s_shared::protocol::{Digest, Entry, Kind, Manifest, Returned};
use a3s_shared::workspace::fetch::{self, FetchError};
use a3s_shared::workspace::read;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, Permissions, PermissionsExt as _};

/// Where changed files are written.
pub(crate) struct Changes {
    dir: Dir,
    path: PathBuf,
    /// The synced tree, where changes are written into it.
    base: Option<Manifest>,
    /// Who changed a path first, and to what.
    taken: HashMap<String, (String, Kind)>,
    /// Paths that were written or removed.
    pub(crate) written: usize,
}

/// A change that was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotWritten {
    /// It could not be had.
    #[error("what {job} changed could not be fetched: {source}")]
    Fetch {
        /// Who changed it.
        job: String,
        /// Why not.
        source: FetchError,
    },
    /// Two jobs changed a path.
    #[error("{path} was changed by {first} and differently by {second}: that of {first} is kept")]
    Both {
        /// The path.
        path: String,
        /// Who came first.
        first: String,
        /// Who came later.
        second: String,
    },
    /// It is not here what it was when it was synced.
    #[error("{path} was changed by {job}, and here since it was synced: it is left as it is here")]
    Here {
        /// The path.
        path: String,
        /// Who changed it.
        job: String,
    },
    /// Nobody may write there.
    #[error("{path} was changed by {job}: nothing is written below a .git")]
    Git {
        /// The path.
        path: String,
        /// Who changed it.
        job: String,
    },
    /// The system refused.
    #[error("{path}, changed by {job}, could not be written: {source}")]
    Io {
        /// The path.
        path: String,
        /// Who changed it.
        job: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Changes {
    /// Into the tree at `root`, which was synced as `base`.
    pub(crate) fn into_tree(root: &Path, base: Manifest) -> io::Result<Self> {
        Self::open(root, Some(base))
    }

    /// Into `directory`, which is made if it is missing. Deletions are not repeated there.
    pub(crate) fn into_directory(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Self::open(directory, None)
    }

    fn open(path: &Path, base: Option<Manifest>) -> io::Result<Self> {
        Ok(Self {
            dir: Dir::open_ambient_dir(path, ambient_authority())?,
            path: path.to_owned(),
            base,
            taken: HashMap::new(),
            written: 0,
        })
    }

    /// Writes what `job` changed; what could not be written, one by one.
    pub(crate) async fn take(
        &mut self,
        broker: &Broker,
        job: &str,
        returned: &Returned,
    ) -> Vec<NotWritten> {
        let fetched = self.fetch(broker, returned).await;
        let (manifest, contents) = match fetched {
            Ok(fetched) => fetched,
            Err(source) => {
                let job = job.to_owned();
                return vec![NotWritten::Fetch { job, source }];
            }
        };
        // What is gone first: a file may be where a directory was.
        let (gone, there): (Vec<_>, Vec<_>) = manifest
            .entries()
            .iter()
            .partition(|entry| entry.kind == Kind::Gone);
        let all = gone.into_iter().chain(there);
        all.filter_map(|entry| self.change(job, entry, contents.path()).err())
            .collect()
    }

    async fn fetch(
        &self,
        broker: &Broker,
        returned: &Returned,
    ) -> Result<(Manifest, tempfile::TempDir), FetchError> {
        let io = |source| FetchError::Io {
            path: self.path.clone(),
            source,
        };
        let contents = tempfile::tempdir().map_err(io)?;
        let tree = fetch::tree(broker, TreeKind::Changes, returned.digest).await?;
        let mut wanted: Vec<(Digest, u64)> = tree
            .manifest
            .files()
            .map(|(_, d, size)| (d, size))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let keep = |_: &Digest, _: &Path| Ok(());
        fetch::contents(broker, &wanted, &tree.places, contents.path(), keep).await?;
        Ok((tree.manifest, contents))
    }

    fn change(&mut self, job: &str, entry: &Entry, contents: &Path) -> Result<(), NotWritten> {
        let (path, job) = (entry.path.clone(), job.to_owned());
        if path
            .split('/')
            .any(|name| name.eq_ignore_ascii_case(".git"))
        {
            return Err(NotWritten::Git { path, job });
        }
        if let Some((first, kind)) = self.taken.get(&path) {
            if *kind == entry.kind {
                return Ok(());
            }
            let (first, second) = (first.clone(), job);
            return Err(NotWritten::Both {
                path,
                first,
                second,
            });
        }
        if !self.is_as_synced(&path, &entry.kind) {
            return Err(NotWritten::Here { path, job });
        }
        if let Err(source) = self.write(entry, contents) {
            return Err(NotWritten::Io { path, job, source });
        }
        self.taken.insert(path, (job, entry.kind.clone()));
        self.written += 1;
        Ok(())
    }

    /// Whether a path is still what was synced, or already what it is to be. In a directory of
    /// results everything may be replaced.
    fn is_as_synced(&self, path: &str, to_be: &Kind) -> bool {
        let Some(base) = &self.base else { return true };
        let now = self.now(path);
        now.as_ref() == base.get(path) || now.as_ref() == Some(to_be)
    }

    /// What stands at a path here.
    fn now(&self, path: &str) -> Option<Kind> {
        let metadata = self.dir.symlink_metadata(path).ok()?;
        if metadata.is_symlink() {
            let target = self.dir.read_link_contents(path).ok()?;
            let target = target.to_string_lossy().into_owned();
            return Some(Kind::Link { target });
        }
        let (stamp, digest) = read::digest(&self.path.join(path)).ok()?;
        Some(Kind::File {
            digest,
            size: stamp.size,
            executable: stamp.executable,
        })
    }

    fn write(&self, entry: &Entry, contents: &Path) -> io::Result<()> {
        let path = Path::new(&entry.path);
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            self.dir.create_dir_all(parent)?;
        }
        match &entry.kind {
            Kind::Gone if self.base.is_none() => Ok(()),
            Kind::Gone => match self.dir.remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
            Kind::Link { target } => self.put(path, |temporary| {
                self.dir.symlink_contents(target, temporary)
            }),
            Kind::File {
                digest, executable, ..
            } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut content = std::fs::File::open(contents.join(digest.hex()))?;
                self.put(path, |temporary| {
                    let mut file = self.dir.create(temporary)?;
                    io::copy(&mut content, &mut file)?;
                    file.set_permissions(Permissions::from_mode(mode))
                })
            }
        }
    }

    /// Makes something beside `path` and moves it there, so that nobody sees half of it.
    fn put(&self, path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let process = std::process::id();
        let temporary = path.with_file_name(format!(".a3s-fetch-{process}"));
        let put = make(&temporary).and_then(|()| self.dir.rename(&temporary, &self.dir, path));
        if put.is_err() {
            let _ = self.dir.remove_file(&temporary);
        }
        put
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        tree: tempfile::TempDir,
        contents: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> (Self, Changes) {
            let tree = tempfile::tempdir().expect("a directory");
            std::fs::write(tree.path().join("a"), "old").expect("a file");
            let base = Manifest::new(vec![file("a", "old")]).expect("harmless");
            let changes = Changes::into_tree(tree.path(), base).expect("it opens");
            let contents = tempfile::tempdir().expect("a directory");
            (Self { tree, contents }, changes)
        }

        fn change(
            &self,
            changes: &mut Changes,
            job: &str,
            path: &str,
            text: &str,
        ) -> Result<(), NotWritten> {
            let content = self.contents.path().join(Digest::of(text.as_bytes()).hex());
            std::fs::write(content, text).expect("a content");
            changes.change(job, &file(path, text), self.contents.path())
        }

        fn read(&self, path: &str) -> String {
            std::fs::read_to_string(self.tree.path().join(path)).expect("a file")
        }
    }

    fn file(path: &str, text: &str) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::File {
                digest: Digest::of(text.as_bytes()),
                size: text.len() as u64,
                executable: false,
            },
        }
    }

    #[test]
    fn two_jobs_that_change_a_path_differently_are_both_named() {
        let (scene, mut changes) = Scene::new();
        scene
            .change(&mut changes, "one", "a", "new")
            .expect("written");
        scene
            .change(&mut changes, "two", "a", "new")
            .expect("the same");
        let both = scene.change(&mut changes, "three", "a", "other");
        let text = both.expect_err("a conflict").to_string();
        assert!(text.contains("one") && text.contains("three"), "{text}");
        assert_eq!(scene.read("a"), "new");
        assert_eq!(changes.written, 1);
    }

    #[test]
    fn what_was_changed_here_since_the_sync_is_left_alone() {
        let (scene, mut changes) = Scene::new();
        std::fs::write(scene.tree.path().join("a"), "mine").expect("a file");
        let here = scene.change(&mut changes, "one", "a", "new");
        assert!(matches!(here, Err(NotWritten::Here { .. })));
        assert_eq!(scene.read("a"), "mine");
    }

    #[test]
    fn nothing_is_written_below_git_nor_through_a_link_that_leads_out() {
        let (scene, mut changes) = Scene::new();
        let outside = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(outside.path(), scene.tree.path().join("out")).expect("a link");
        for path in [".git/hooks/pre-commit", "sub/.GIT/config", "out/x"] {
            let refused = scene.change(&mut changes, "evil", path, "new");
            assert!(refused.is_err(), "{path}");
        }
        let left = outside.path().read_dir().expect("a directory").count();
        assert_eq!(left, 0);
    }
}
