//! Which directories tasks may touch.

use std::path::{Component, Path, PathBuf};

/// What may be read and written: directories, with all that is below them. A relative path
/// begins at the workspace's root. What may be written may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Default: the workspace.
    pub read: Vec<PathBuf>,
    /// Default: the workspace.
    pub write: Vec<PathBuf>,
}

impl Default for Paths {
    fn default() -> Self {
        let workspace = vec![PathBuf::from(".")];
        Self {
            read: workspace.clone(),
            write: workspace,
        }
    }
}

/// The part of a workspace that some roots are about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inside {
    /// All of it.
    Whole,
    /// These directories, relative to it. May be none.
    Parts(Vec<PathBuf>),
}

impl Paths {
    /// What of the workspace at `root` may be read.
    #[must_use]
    pub fn readable(&self, root: &Path) -> Inside {
        inside(self.read.iter().chain(&self.write), root)
    }

    /// What of the workspace at `root` may be written.
    #[must_use]
    pub fn writable(&self, root: &Path) -> Inside {
        inside(self.write.iter(), root)
    }
}

fn inside<'a>(roots: impl Iterator<Item = &'a PathBuf>, workspace: &Path) -> Inside {
    let mut parts = Vec::new();
    for root in roots {
        let root = workspace.join(root);
        if workspace.starts_with(&root) {
            return Inside::Whole;
        }
        if let Ok(part) = root.strip_prefix(workspace) {
            let part: PathBuf = part.components().collect();
            if part.as_os_str().is_empty() {
                return Inside::Whole;
            }
            parts.push(part);
        }
    }
    Inside::Parts(parts)
}

/// The root that `text` means: `~` is `home`.
///
/// # Errors
/// When it is empty, leads upwards, or there is no home.
pub(super) fn root(text: &str, home: Option<&Path>) -> Result<PathBuf, String> {
    let path = match text.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
            let home = home.ok_or_else(|| {
                format!("{text:?} needs a home, and HOME is not set: write an absolute path")
            })?;
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(text),
    };
    if text.is_empty() || path.components().any(|part| part == Component::ParentDir) {
        return Err(format!(
            "{text:?} is no root: write . for the workspace, a path below it, or an absolute one"
        ));
    }
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let spelt: PathBuf = parts.collect();
    if spelt.as_os_str().is_empty() {
        return Ok(PathBuf::from("."));
    }
    Ok(spelt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(read: &[&str], write: &[&str]) -> Paths {
        let roots = |list: &[&str]| list.iter().map(PathBuf::from).collect();
        Paths {
            read: roots(read),
            write: roots(write),
        }
    }

    #[test]
    fn roots_are_about_the_workspace_above_it_or_below_it() {
        let workspace = Path::new("/srv/tree");
        assert_eq!(Paths::default().readable(workspace), Inside::Whole);
        assert_eq!(paths(&["/srv"], &[]).readable(workspace), Inside::Whole);
        assert_eq!(paths(&["/"], &[]).readable(workspace), Inside::Whole);
        let some = paths(&["src", "/srv/tree/doc", "/usr", "/srv/tree2"], &["out"]);
        let parts = |list: &[&str]| Inside::Parts(list.iter().map(PathBuf::from).collect());
        assert_eq!(some.readable(workspace), parts(&["src", "doc", "out"]));
        assert_eq!(some.writable(workspace), parts(&["out"]));
        assert_eq!(paths(&["."], &[]).writable(workspace), parts(&[]));
    }

    #[test]
    fn a_root_is_spelt_without_leading_upwards() {
        let home = Some(Path::new("/home/me"));
        assert_eq!(root("~/.cargo", home), Ok("/home/me/.cargo".into()));
        assert_eq!(root("~", home), Ok("/home/me".into()));
        assert_eq!(root("./src/", home), Ok("src".into()));
        assert_eq!(root(".", home), Ok(".".into()));
        assert_eq!(root("~other", home), Ok("~other".into()));
        for nonsense in ["", "..", "a/../b", "/x/.."] {
            assert!(root(nonsense, home).is_err(), "{nonsense}");
        }
        assert!(root("~/x", None).is_err());
    }
}
