//! One directory, two names: what the user typed, and what the workers call it.
//!
//! Tasks carry paths relative to the workers' workspace; output shows them as ripgrep would for
//! the PATH that was typed.

use std::path::{Component, Path};

/// A prefix of paths in tasks, and what replaces it in the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Root {
    /// What tasks prepend: empty, or ending with `/`.
    pub(crate) sent: String,
    /// What the user sees instead: empty, or ending with `/`.
    pub(crate) shown: String,
}

impl Root {
    /// The root for `typed` (nothing when no PATH was given), which the workers know as `inside`
    /// their workspace. None when `inside` leaves the workspace or is not UTF-8.
    pub(crate) fn new(typed: Option<&str>, inside: &Path) -> Option<Self> {
        Some(Self {
            sent: with_slash(&normal(inside)?),
            shown: typed.map_or_else(String::new, with_slash),
        })
    }

    /// The root of one file: both names are those of the file itself, whose path below is empty.
    pub(crate) fn of_file(typed: &str, inside: &Path) -> Option<Self> {
        Some(Self {
            sent: normal(inside)?,
            shown: typed.to_owned(),
        })
    }

    /// The root of paths that are shown as they are sent.
    pub(crate) fn identity() -> Self {
        Self {
            sent: String::new(),
            shown: String::new(),
        }
    }

    /// A path below the root, as tasks name it.
    pub(crate) fn send(&self, path: &str) -> String {
        [&self.sent, path].concat()
    }

    /// A path below the root, as the user knows it.
    pub(crate) fn show(&self, path: &str) -> String {
        [&self.shown, path].concat()
    }

    /// Whether the two names are one, so that output needs no change.
    pub(crate) fn is_same(&self) -> bool {
        self.sent == self.shown
    }
}

/// `path` without `.` and inner `..`; None when it climbs out, is absolute or is not UTF-8.
pub(crate) fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts.join("/"))
}

fn with_slash(path: &str) -> String {
    match path {
        "" => String::new(),
        path if path.ends_with('/') => path.to_owned(),
        path => format!("{path}/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(typed: Option<&str>, inside: &str) -> (String, String) {
        let root = Root::new(typed, Path::new(inside)).expect("a root");
        (root.send("x/y.rs"), root.show("x/y.rs"))
    }

    #[test]
    fn paths_are_shown_as_typed_and_sent_relative_to_the_workspace() {
        let same = |sent: &str, shown: &str| (sent.to_owned(), shown.to_owned());
        assert_eq!(root(None, ""), same("x/y.rs", "x/y.rs"));
        assert_eq!(root(Some("."), "."), same("x/y.rs", "./x/y.rs"));
        assert_eq!(root(Some("./a/"), "./a/"), same("a/x/y.rs", "./a/x/y.rs"));
        assert_eq!(
            root(Some("a//b"), "a//b"),
            same("a/b/x/y.rs", "a//b/x/y.rs")
        );
        assert_eq!(root(Some("/w/a"), "a"), same("a/x/y.rs", "/w/a/x/y.rs"));
        assert_eq!(root(Some("../a"), "a"), same("a/x/y.rs", "../a/x/y.rs"));
    }

    #[test]
    fn what_leaves_the_workspace_is_no_root() {
        assert_eq!(Root::new(None, Path::new("../a")), None);
        assert_eq!(Root::new(None, Path::new("a/../../b")), None);
        assert_eq!(Root::new(None, Path::new("/etc")), None);
        assert_eq!(normal(Path::new("a/../b")).as_deref(), Some("b"));
    }
}
