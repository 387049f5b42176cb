//! Tasks run in the tree that was sent, each kind with its right to write.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use a3s_testkit::eventually;
use serde_json::json;

use super::{Scene, entries};
use crate::search::ripgrep;
use crate::stage::SOON;

#[tokio::test]
async fn a_search_finds_what_ripgrep_finds_without_a_checkout() {
    let scene = Scene::new().await;
    scene.write(".gitignore", "target/\n");
    scene.write(".hidden/needle.txt", "needle hidden\n");
    scene.write("target/out.txt", "needle ignored\n");
    scene.write("a.txt", "one\nneedle\ntwo\nNeedle again\n");
    scene.write("a/b/c.rs", "fn needle() {}\n");
    scene.write("binary.dat", b"needle\0needle\n");
    for n in 0..30 {
        scene.write(&format!("many/{n}/f.txt"), format!("{n}\nneedle {n}\n"));
    }
    symlink("a.txt", scene.path().join("link.txt")).expect("a link");
    let _workers = [scene.worker(&["-j2"]).await, scene.worker(&["-j1"]).await];
    let cases: &[&[&str]] = &[
        &["needle"],
        &["needle", "./a"],
        &["needle", "a.txt"],
        &["-c", "needle", "many"],
        &["-i", "-C1", "NEEDLE"],
        &["--hidden", "-g", "!.git", "needle"],
        &["nothing like it"],
    ];
    for arguments in cases {
        let Some((status, expected)) = ripgrep(&scene.stage, arguments) else {
            return;
        };
        let done = scene
            .run(&[&["search", "--sync"], *arguments].concat())
            .await;
        assert_eq!(done.stdout, String::from_utf8_lossy(&expected), "{done:?}");
        assert_eq!(done.status, status, "{arguments:?}: {}", done.stderr);
    }
    assert_eq!(scene.trees(), 1, "all workers and searches share one");
    let outside = scene.run(&["search", "--sync", "needle", "/etc"]).await;
    assert_eq!(outside.status, 2);
    assert!(outside.stderr.contains("which was synced"), "{outside:?}");
}

#[tokio::test]
async fn commands_run_in_the_tree_with_its_modes_and_links() {
    let scene = Scene::new().await;
    scene.write(
        "greet.sh",
        "#!/bin/sh\necho \"hello $1 from $(cat name)\"\n",
    );
    let script = scene.path().join("greet.sh");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    scene.write("dir/target", "the tree\n");
    scene.write(".config/hidden", "comes along\n");
    symlink("dir/target", scene.path().join("name")).expect("a link");
    let _worker = scene.worker(&["-j2"]).await;
    let arguments = ["map", "--sync", "-k", "./greet.sh {}", ":::", "a", "b"];
    let printed = scene.succeed(&arguments).await;
    assert_eq!(printed, "hello a from the tree\nhello b from the tree\n");
    let arguments = [
        "map",
        "--sync",
        "cat {}; test ! -e .git",
        ":::",
        ".config/hidden",
    ];
    assert_eq!(scene.succeed(&arguments).await, "comes along\n");
}

#[tokio::test]
async fn commands_do_not_see_what_others_write_and_leave_nothing() {
    let scene = Scene::new().await;
    scene.write("shared", "original\n");
    let _worker = scene.worker(&["-j4"]).await;
    let command =
        "cat shared; echo {} >> shared; echo {} > new-{}; sleep 0.2; ls new-*; cat shared";
    let arguments = ["map", "--sync", "-k", command, ":::", "1", "2", "3", "4"];
    let printed = scene.succeed(&arguments).await;
    let expected: String = (1..=4)
        .map(|n| format!("original\nnew-{n}\noriginal\n{n}\n"))
        .collect();
    assert_eq!(printed, expected);
    assert_eq!(scene.read("shared"), "original\n");
    let again = scene
        .succeed(&["map", "--sync", "cat {}", ":::", "shared"])
        .await;
    assert_eq!(again, "original\n");
    let run = scene.cache().join("1/run");
    eventually("the copies to go", SOON, || async {
        let left: usize = std::fs::read_dir(&run)
            .map_err(|e| e.to_string())?
            .flatten()
            .map(|worker| entries(&worker.path()))
            .sum();
        (left == 0).then_some(()).ok_or(format!("{left} are left"))
    })
    .await;
}

#[tokio::test]
async fn nothing_in_the_query_lane_changes_the_tree() {
    let scene = Scene::new().await;
    scene.write("file", "original");
    let _worker = scene.worker(&["-j1"]).await;
    let answers = scene
        .batch(&[
            json!({"id": "1", "lane": "query", "command_type": "write",
                "payload": {"path": "file", "content": "changed"}}),
            json!({"id": "2", "lane": "query", "command_type": "edit",
                "payload": {"path": "file", "old_string": "original", "new_string": "changed"}}),
            json!({"id": "3", "lane": "query", "command_type": "bash",
                "payload": {"command": "chmod u+w file; echo changed > file; cat file"}}),
            json!({"id": "4", "lane": "execute", "command_type": "write",
                "payload": {"path": "file", "content": "changed"}}),
        ])
        .await;
    for refused in &answers[..2] {
        let error = refused["error"].as_str().unwrap_or_default();
        assert!(error.contains("read-only"), "{refused}");
    }
    assert_eq!(answers[2]["result"]["stdout"], "changed\n", "in a copy");
    assert_eq!(answers[3]["success"], true, "in a copy: {}", answers[3]);
    let read = json!({"id": "5", "command_type": "read", "payload": {"path": "file"}});
    let answers = scene.batch(&[read]).await;
    assert_eq!(answers[0]["result"]["content"], "original");
}
