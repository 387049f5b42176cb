//! Which files a tree has: those that `search` sees, and hidden ones beside.
//!
//! `.gitignore`, `.ignore` and `.rgignore` are honoured as by ripgrep. Hidden files come along,
//! because commands need them (`.cargo/config.toml`, `.github`), but for `.git`: it is large, it
//! changes with every commit, and what is in it is nobody's source. Empty directories do not, as
//! with git.

use std::path::{Path, PathBuf};

use a3s_shared::protocol::{Entry, Kind};
use a3s_shared::workspace::read::Stamp;
use ignore::{DirEntry, WalkBuilder};

/// A file of the tree.
#[derive(Debug, Clone)]
pub(super) struct File {
    /// Relative to the root.
    pub(super) path: String,
    /// Where it is.
    pub(super) place: PathBuf,
    /// What the filesystem said of it.
    pub(super) stamp: Stamp,
}

/// What a walk found, in the order of a manifest.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// The regular files.
    pub(super) files: Vec<File>,
    /// The symbolic links that stay inside.
    pub(super) links: Vec<Entry>,
    /// What does not come along, a sentence each.
    pub(super) skipped: Vec<String>,
}

/// Walks the tree at `root`.
pub(super) fn walk(root: &Path) -> Walked {
    let mut builder = WalkBuilder::new(root);
    builder
        .hidden(false)
        .add_custom_ignore_filename(".rgignore")
        .filter_entry(|entry| entry.depth() == 0 || entry.file_name() != ".git")
        .sort_by_file_name(Ord::cmp);
    let mut walked = Walked::default();
    for entry in builder.build() {
        match entry {
            Ok(entry) => walked.add(root, &entry),
            Err(error) => walked.skipped.push(error.to_string()),
        }
    }
    walked
}

impl Walked {
    fn add(&mut self, root: &Path, entry: &DirEntry) {
        let Some(kind) = entry.file_type().filter(|kind| !kind.is_dir()) else {
            return;
        };
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        let Some(path) = relative.to_str().map(str::to_owned) else {
            return self.skip(entry, "its name is not valid UTF-8");
        };
        if kind.is_symlink() {
            return self.add_link(entry, path);
        }
        if !kind.is_file() {
            return self.skip(entry, "it is no file, directory or symbolic link");
        }
        match entry.metadata() {
            Ok(metadata) => self.files.push(File {
                path,
                place: entry.path().to_owned(),
                stamp: Stamp::of(&metadata),
            }),
            Err(error) => self.skip(entry, &error.to_string()),
        }
    }

    fn add_link(&mut self, entry: &DirEntry, path: String) {
        let target = match std::fs::read_link(entry.path()) {
            Ok(target) => target,
            Err(error) => return self.skip(entry, &error.to_string()),
        };
        let Some(target) = target.to_str().map(str::to_owned) else {
            return self.skip(entry, "its target is not valid UTF-8");
        };
        let link = Entry {
            path,
            kind: Kind::Link { target },
        };
        match link.check() {
            Ok(()) => self.links.push(link),
            Err(bad) => self.skip(entry, bad.why),
        }
    }

    fn skip(&mut self, entry: &DirEntry, why: &str) {
        let path = entry.path().display();
        self.skipped.push(format!("{path}: left out, {why}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn hidden_files_come_along_and_ignored_ones_and_git_do_not() {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in [
            (".git/config", ""),
            (".gitignore", "target\n*.log\n"),
            (".cargo/config.toml", ""),
            ("sub/.git/config", ""),
            ("sub/kept", ""),
            ("target/out", ""),
            ("a.log", ""),
        ] {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        let walked = walk(dir.path());
        let names: Vec<&str> = walked.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, [".cargo/config.toml", ".gitignore", "sub/kept"]);
        assert_eq!(walked.skipped, Vec::<String>::new());
    }

    #[test]
    fn links_come_along_where_they_stay_inside() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("sub")).expect("a directory");
        symlink("../file", dir.path().join("sub/in")).expect("a link");
        symlink("../../out", dir.path().join("sub/out")).expect("a link");
        symlink("/etc/passwd", dir.path().join("abs")).expect("a link");
        let walked = walk(dir.path());
        let names: Vec<&str> = walked.links.iter().map(|link| link.path.as_str()).collect();
        assert_eq!(names, ["sub/in"]);
        assert_eq!(walked.skipped.len(), 2, "{:?}", walked.skipped);
        assert!(walked.skipped[0].contains("its target is absolute"));
    }
}
