//! Whether this machine has the tree that the workers see: then it is listed here, else by one of
//! them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use a3s_shared::protocol::Presence;

use super::root::Root;

/// Where the files of a search are known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here, below this directory.
    Directory(PathBuf, Root),
    /// Here, and it is one file.
    File(Root),
    /// With the workers only.
    Remote,
}

/// Finds the place of `typed` (none: the directory `here`). `host` is this machine's name.
pub(crate) fn find(typed: Option<&str>, here: &Path, host: &str, workers: &[Presence]) -> Place {
    let Ok(path) = here.join(typed.unwrap_or("")).canonicalize() else {
        return Place::Remote;
    };
    let inside = workers
        .iter()
        .filter(|worker| worker.host == host)
        .find_map(|worker| path.strip_prefix(&worker.workspace).ok());
    let Some(inside) = inside else {
        return Place::Remote;
    };
    local(typed, &path, inside).unwrap_or(Place::Remote)
}

/// Finds the place of `typed` in the tree at `root`, a path without symbolic links; none when it
/// is elsewhere.
pub(crate) fn find_in(typed: Option<&str>, here: &Path, root: &Path) -> Option<Place> {
    let path = here.join(typed.unwrap_or("")).canonicalize().ok()?;
    local(typed, &path, path.strip_prefix(root).ok()?)
}

/// The place of `path`, which the workers know as `inside`.
fn local(typed: Option<&str>, path: &Path, inside: &Path) -> Option<Place> {
    match typed {
        Some(typed) if path.is_file() => Root::of_file(typed, inside).map(Place::File),
        typed => Root::new(typed, inside).map(|root| Place::Directory(path.to_owned(), root)),
    }
}

/// What to say when workers of one machine see different directories: a path in a task is then
/// another file, depending on who takes it.
pub(crate) fn disagreement(workers: &[Presence]) -> Option<String> {
    let places: BTreeSet<(&str, &str)> = workers
        .iter()
        .map(|worker| (worker.host.as_str(), worker.workspace.as_str()))
        .collect();
    let hosts: BTreeSet<&str> = places.iter().map(|(host, _)| *host).collect();
    if places.len() == hosts.len() {
        return None;
    }
    let named: Vec<String> = places.iter().map(|(h, w)| format!("{w} on {h}")).collect();
    Some(format!(
        "the workers have different workspaces ({}): a path is not the same file to all of them; \
         give each purpose a pool of its own (--pool)",
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use a3s_shared::protocol::Serves;

    use super::*;

    fn worker(host: &str, workspace: &Path) -> Presence {
        Presence {
            worker_id: "w".into(),
            host: host.into(),
            pid: 1,
            version: String::new(),
            runtime: String::new(),
            serves: Serves::Pool("default".into()),
            lanes: Vec::new(),
            tools: Vec::new(),
            tool_digest: None,
            slots: 1,
            busy: 0,
            done: 0,
            workspace: workspace.display().to_string(),
            labels: BTreeMap::new(),
            sandbox: None,
            started_at_ms: 0,
            last_pull_ms: 0,
            seen_at_ms: 0,
            draining: false,
            refused: 0,
        }
    }

    #[test]
    fn a_tree_is_local_where_a_worker_of_this_machine_sees_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path().canonicalize().expect("a path");
        std::fs::create_dir(top.join("sub")).expect("a directory");
        std::fs::write(top.join("sub/file"), "").expect("a file");
        let fleet = [worker("other", Path::new("/")), worker("here", &top)];
        let find = |typed, host| find(typed, &top, host, &fleet);
        let sub = Root::new(Some("sub"), Path::new("sub")).expect("a root");
        assert_eq!(
            find(Some("sub"), "here"),
            Place::Directory(top.join("sub"), sub)
        );
        let file = Root::of_file("./sub/file", Path::new("sub/file")).expect("a root");
        assert_eq!(find(Some("./sub/file"), "here"), Place::File(file));
        let all = Root::new(None, Path::new("")).expect("a root");
        assert_eq!(find(None, "here"), Place::Directory(top.clone(), all));
        assert_eq!(find(Some("nosuch"), "here"), Place::Remote);
        assert_eq!(find(Some("sub"), "elsewhere"), Place::Remote);
        assert_eq!(find(Some("/"), "here"), Place::Remote);
    }

    #[test]
    fn different_workspaces_on_one_machine_are_told() {
        let (a, b) = (Path::new("/a"), Path::new("/b"));
        assert_eq!(
            disagreement(&[worker("x", a), worker("x", a), worker("y", b)]),
            None
        );
        let text = disagreement(&[worker("x", a), worker("x", b)]).expect("they differ");
        assert!(text.contains("/a on x, /b on x"), "{text}");
    }
}
