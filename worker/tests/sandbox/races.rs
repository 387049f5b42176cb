//! Symbolic links that are swapped while the file tools work.
//!
//! A thread exchanges a directory with a link that leads out, as fast as it can, for as long as
//! the tools run. What they read and write must be inside whatever it does.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use a3s_worker::policy::Paths;
use a3s_worker::workspace::{PathError, Workspace};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use super::caged::SECRET;

/// Operations of each kind; and when to end all the same.
const TIMES: usize = 3_000;
const BOUND: Duration = Duration::from_secs(10);

/// How often an operation found the directory, and how often it was refused.
#[derive(Default)]
struct Seen {
    inside: usize,
    refused: usize,
}

impl Seen {
    fn count<T>(&mut self, result: &Result<T, PathError>) {
        match result {
            Ok(_) => self.inside += 1,
            Err(_) => self.refused += 1,
        }
    }
}

/// Works in `name` of `workspace`, which is `turning` in `parent`, while that is exchanged with
/// `other`.
fn work(workspace: &Workspace, parent: &Path, name: &str) -> Seen {
    let stop = AtomicBool::new(false);
    let (turning, other) = (parent.join("turning"), parent.join("other"));
    let resolve = |path: String| workspace.resolve(path).expect("by its spelling");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let turned = renameat_with(CWD, &turning, CWD, &other, RenameFlags::EXCHANGE);
                turned.expect("both are there");
            }
        });
        let mut seen = Seen::default();
        let begun = Instant::now();
        for number in 0..TIMES {
            let path = resolve(format!("{name}/file"));
            let read = workspace.open_file(&path);
            seen.count(&read);
            if let Ok(file) = read {
                let text = std::io::read_to_string(file).expect("it is text");
                assert_ne!(text, SECRET, "read from outside");
            }
            seen.count(&workspace.write(&path, format!("inside {number}").as_bytes()));
            let made = resolve(format!("{name}/new/{number}"));
            seen.count(&workspace.write(&made, b"inside"));
            seen.count(&workspace.read_dir(&resolve(name.to_owned())));
            if begun.elapsed() > BOUND {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
        seen
    })
}

fn tree(inside: &Path, outside: &Path, link_from: &Path) {
    std::fs::create_dir_all(inside.join("turning")).expect("a directory");
    std::fs::create_dir_all(outside).expect("a directory");
    std::fs::write(inside.join("turning/file"), "inside").expect("a file");
    std::fs::write(outside.join("file"), SECRET).expect("a file");
    symlink(link_from, inside.join("other")).expect("a link");
}

fn is_untouched(outside: &Path) {
    let text = std::fs::read_to_string(outside.join("file")).expect("it is there");
    assert_eq!(text, SECRET, "written outside");
    let names = std::fs::read_dir(outside).expect("it is there").count();
    assert_eq!(names, 1, "made outside");
}

#[test]
fn no_link_that_is_swapped_leads_out_of_the_workspace() {
    for climbing in [false, true] {
        let dir = TempDir::new().expect("a directory");
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        let link = if climbing {
            Path::new("../out")
        } else {
            &outside
        };
        tree(&inside, &outside, link);
        let workspace = Workspace::open(&inside).expect("it can be opened");
        let seen = work(&workspace, &inside, "turning");
        assert!(seen.inside > 0 && seen.refused > 0, "the race was none");
        is_untouched(&outside);
    }
}

#[test]
fn no_link_that_is_swapped_leads_out_of_a_root_of_the_policy() {
    let dir = TempDir::new().expect("a directory");
    let (part, rest) = (dir.path().join("part"), dir.path().join("rest"));
    // Both are in the workspace, and only one is allowed.
    tree(&part, &rest, Path::new("../rest"));
    let roots = || vec!["part".into()];
    let paths = Paths {
        read: roots(),
        write: roots(),
    };
    let workspace = Workspace::open(dir.path()).and_then(|w| w.allowing(&paths));
    let workspace = workspace.expect("it can be opened");
    let seen = work(&workspace, &part, "part/turning");
    assert!(seen.inside > 0 && seen.refused > 0, "the race was none");
    is_untouched(&rest);
}
