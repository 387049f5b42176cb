//! The files below a directory, as ripgrep would search them: .gitignore, .ignore and .rgignore
//! honoured, hidden ones skipped, sorted by path. Sizes come along, for planning.

use std::path::Path;

use ignore::overrides::{Override, OverrideBuilder};
use ignore::{DirEntry, WalkBuilder};

/// A file to search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Relative to the directory that was listed.
    pub(crate) path: String,
    /// In bytes; an estimate is enough.
    pub(crate) size: u64,
}

/// Which files are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// As ripgrep's `-g`: the last glob that matches decides, `!` excludes.
    pub(crate) globs: Vec<String>,
    /// Also hidden files and directories.
    pub(crate) hidden: bool,
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// In path order.
    pub(crate) files: Vec<File>,
    /// What could not be read, a sentence each.
    pub(crate) errors: Vec<String>,
}

/// Lists the files below `root`. Globs are relative to `base`, the directory that the user is in.
///
/// # Errors
/// A glob that is none.
pub(crate) fn list(root: &Path, base: &Path, filter: &Filter) -> Result<Listing, ignore::Error> {
    let mut walk = WalkBuilder::new(root);
    walk.hidden(!filter.hidden)
        .overrides(overrides(base, filter)?)
        .add_custom_ignore_filename(".rgignore")
        .skip_stdout(true)
        .sort_by_file_name(Ord::cmp);
    let mut listing = Listing::default();
    for entry in walk.build() {
        match entry {
            Ok(entry) => listing.add(root, &entry),
            Err(error) => listing.errors.push(error.to_string()),
        }
    }
    Ok(listing)
}

fn overrides(base: &Path, filter: &Filter) -> Result<Override, ignore::Error> {
    let mut builder = OverrideBuilder::new(base);
    for glob in &filter.globs {
        builder.add(glob)?;
    }
    builder.build()
}

impl Listing {
    fn add(&mut self, root: &Path, entry: &DirEntry) {
        // Symbolic links to files are skipped, as ripgrep does unless told to follow them.
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            return;
        }
        let relative = entry.path().strip_prefix(root).unwrap_or(entry.path());
        match relative.to_str() {
            Some(path) => self.files.push(File {
                path: path.to_owned(),
                size: entry.metadata().map_or(0, |data| data.len()),
            }),
            None => self.errors.push(format!(
                "{}: skipped, its name is not valid UTF-8 and cannot be sent to a worker",
                entry.path().display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
            fs::write(path, text).expect("a file");
        }
        dir
    }

    fn names(dir: &Path, filter: &Filter) -> Vec<String> {
        let listing = list(dir, dir, filter).expect("a listing");
        assert_eq!(listing.errors, Vec::<String>::new());
        listing.files.into_iter().map(|file| file.path).collect()
    }

    #[test]
    fn the_order_is_that_of_path_components_not_of_text() {
        let dir = tree(&[
            ("a.rs", ""),
            ("a/z", ""),
            ("a-b", ""),
            ("b/c/d", ""),
            ("b/c.x", ""),
        ]);
        let names = names(dir.path(), &Filter::default());
        assert_eq!(names, ["a/z", "a-b", "a.rs", "b/c/d", "b/c.x"]);
    }

    #[test]
    fn ignore_files_and_hidden_ones_are_honoured() {
        let dir = tree(&[
            (".git/HEAD", ""),
            (".gitignore", "target\n"),
            (".ignore", "*.log\n"),
            (".rgignore", "*.tmp\n"),
            (".hidden", ""),
            ("target/x", ""),
            ("a.log", ""),
            ("a.tmp", ""),
            ("kept", "12345"),
        ]);
        assert_eq!(names(dir.path(), &Filter::default()), ["kept"]);
        let listing = list(dir.path(), dir.path(), &Filter::default()).expect("a listing");
        assert_eq!(listing.files[0].size, 5);
        let hidden = Filter {
            hidden: true,
            globs: vec!["!.git".to_owned()],
        };
        let all = names(dir.path(), &hidden);
        assert_eq!(
            all,
            [".gitignore", ".hidden", ".ignore", ".rgignore", "kept"]
        );
    }

    #[test]
    fn globs_select_and_exclude() {
        let dir = tree(&[("a.rs", ""), ("b.txt", ""), ("t/c.rs", "")]);
        let filter = |globs: &[&str]| Filter {
            globs: globs.iter().map(|&g| g.to_owned()).collect(),
            hidden: false,
        };
        assert_eq!(names(dir.path(), &filter(&["*.rs"])), ["a.rs", "t/c.rs"]);
        assert_eq!(names(dir.path(), &filter(&["*.rs", "!t"])), ["a.rs"]);
        assert!(list(dir.path(), dir.path(), &filter(&["a{b"])).is_err());
    }
}
