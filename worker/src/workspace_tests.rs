//! What the jail lets through and what it holds.

use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

fn workspace() -> (TempDir, Workspace) {
    let dir = TempDir::new().expect("a temporary directory can be made");
    let workspace = Workspace::open(dir.path()).expect("it can be opened");
    (dir, workspace)
}

fn path(workspace: &Workspace, path: &str) -> RelPath {
    workspace.resolve(path).expect("the path is inside")
}

#[test]
fn a_path_that_climbs_out_is_refused_by_name() {
    let (_dir, workspace) = workspace();
    for bad in ["../x", "a/../../x", "/etc/passwd", "..", "/"] {
        let error = workspace.resolve(bad).expect_err(bad).to_string();
        assert!(error.contains(bad), "{error}");
        let root = workspace.root().display().to_string();
        assert!(error.contains(&root), "{error}");
    }
}

#[test]
fn an_absolute_path_inside_is_accepted() {
    let (_dir, workspace) = workspace();
    std::fs::write(workspace.root().join("a"), "x").expect("written");
    let absolute = workspace.root().join("a");
    let absolute = absolute.to_str().expect("is UTF-8");
    assert!(workspace.open_file(&path(&workspace, absolute)).is_ok());
    assert!(workspace.open_file(&path(&workspace, "b/../a")).is_err());
    assert!(workspace.open_file(&path(&workspace, "./a")).is_ok());
}

#[test]
fn a_symbolic_link_that_leaves_is_refused_for_reading_writing_and_listing() {
    let (_dir, workspace) = workspace();
    let outside = TempDir::new().expect("a temporary directory can be made");
    std::fs::write(outside.path().join("secret"), "x").expect("written");
    symlink(outside.path(), workspace.root().join("out")).expect("linked");
    symlink(outside.path().join("secret"), workspace.root().join("link")).expect("linked");
    symlink("../../../etc/passwd", workspace.root().join("up")).expect("linked");

    for bad in ["out/secret", "link", "up"] {
        let error = workspace.open_file(&path(&workspace, bad)).expect_err(bad);
        assert!(matches!(error, PathError::Outside { .. }), "{bad}: {error}");
    }
    for bad in ["out/new", "out/secret", "link", "up"] {
        let error = workspace
            .write(&path(&workspace, bad), b"y")
            .expect_err(bad);
        assert!(matches!(error, PathError::Outside { .. }), "{bad}: {error}");
    }
    let listed = workspace.read_dir(&path(&workspace, "out"));
    assert!(matches!(listed, Err(PathError::Outside { .. })));
    let real = workspace.real_path(&path(&workspace, "out"));
    assert!(matches!(real, Err(PathError::Outside { .. })));
    let secret = std::fs::read(outside.path().join("secret")).expect("still there");
    assert_eq!(secret, b"x");
    assert!(!outside.path().join("new").exists());
}

#[test]
fn a_symbolic_link_inside_is_written_through() {
    let (_dir, workspace) = workspace();
    let root = workspace.root();
    std::fs::write(root.join("real"), "old").expect("written");
    symlink("real", root.join("link")).expect("linked");
    workspace
        .write(&path(&workspace, "link"), b"new")
        .expect("written");
    assert_eq!(std::fs::read(root.join("real")).expect("there"), b"new");
    assert!(root.join("link").is_symlink());
}

#[test]
fn a_write_makes_parents_keeps_the_mode_and_leaves_no_temporary_file() {
    let (_dir, workspace) = workspace();
    let script = path(&workspace, "a/b/run.sh");
    workspace.write(&script, b"1").expect("written");
    let file = workspace.root().join("a/b/run.sh");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).expect("set");
    workspace.write(&script, b"2").expect("written");
    let mode = file.metadata().expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let entries = workspace
        .read_dir(&path(&workspace, "a/b"))
        .expect("listed");
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[test]
fn a_failed_write_leaves_nothing_behind() {
    let (_dir, workspace) = workspace();
    std::fs::create_dir(workspace.root().join("d")).expect("made");
    let error = workspace.write(&path(&workspace, "d"), b"x");
    assert!(error.is_err());
    let entries = workspace.read_dir(&path(&workspace, ".")).expect("listed");
    assert_eq!(entries.len(), 1, "{entries:?}");
}

#[test]
fn a_named_pipe_does_not_hold_the_reader() {
    let (_dir, workspace) = workspace();
    let pipe = workspace.root().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is there").success());
    let error = workspace.open_file(&path(&workspace, "pipe"));
    assert!(matches!(error, Err(PathError::NotAFile { .. })));
}

#[test]
fn the_real_path_of_the_root_is_the_root() {
    let (_dir, workspace) = workspace();
    let real = workspace.real_path(&path(&workspace, "")).expect("there");
    assert_eq!(real, workspace.root());
}
