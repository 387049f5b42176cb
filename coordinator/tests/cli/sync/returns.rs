//! What jobs changed comes back where it is asked for.

use std::fs;

use super::Scene;

#[tokio::test]
async fn changed_files_return_into_the_tree() {
    let scene = Scene::new().await;
    for name in ["a", "b", "c"] {
        scene.write(&format!("src/{name}.txt"), format!("{name}\n"));
    }
    scene.write("src/old.txt", "old\n");
    scene.write("untouched", "here\n");
    let _worker = scene.worker(&["-j2"]).await;
    let command = "tr a-z A-Z < {} > out && mv out {}; mkdir -p made; echo {/} > made/{/.}; \
                   rm -f src/old.txt; echo changed > untouched";
    let arguments = [
        "map",
        "--sync",
        "--fetch",
        "src/*.txt",
        "--fetch",
        "made/**",
        command,
        ":::",
        "src/a.txt",
        "src/b.txt",
    ];
    let done = scene.run(&arguments).await;
    assert_eq!(done.status, 0, "{done:?}");
    assert_eq!(scene.read("src/a.txt"), "A\n");
    assert_eq!(scene.read("src/b.txt"), "B\n");
    assert_eq!(scene.read("src/c.txt"), "c\n");
    assert_eq!(scene.read("made/a"), "a.txt\n");
    assert!(!scene.path().join("src/old.txt").exists());
    assert_eq!(scene.read("untouched"), "here\n", "it was not asked for");
    assert!(
        done.stderr.contains("5 changed files written, 0 not"),
        "{done:?}"
    );
}

#[tokio::test]
async fn what_two_jobs_change_differently_is_an_error_that_names_both() {
    let scene = Scene::new().await;
    scene.write("version", "0\n");
    let _worker = scene.worker(&["-j1"]).await;
    let arguments = [
        "map",
        "--sync",
        "--fetch",
        "version",
        "--jobs",
        "1",
        "echo {} > version",
        ":::",
        "one",
        "two",
    ];
    let done = scene.run(&arguments).await;
    assert_eq!(done.status, 255, "{done:?}");
    let conflict = "version was changed by job 1 (one) and differently by job 2 (two)";
    assert!(done.stderr.contains(conflict), "{done:?}");
    assert_eq!(scene.read("version"), "one\n");
}

#[tokio::test]
async fn changed_files_can_go_elsewhere_and_never_below_git() {
    let scene = Scene::new().await;
    scene.write("file", "old\n");
    let _worker = scene.worker(&["-j1"]).await;
    let to = scene.caches.path().join("results");
    let to_text = to.display().to_string();
    let command = "echo new > file; mkdir -p .git/hooks; echo evil > .git/hooks/pre-commit";
    let arguments = [
        "map",
        "--sync",
        "--fetch",
        "**",
        "--fetch-to",
        &to_text,
        command,
        ":::",
        "x",
    ];
    let done = scene.run(&arguments).await;
    assert_eq!(done.status, 255, "{done:?}");
    assert!(
        done.stderr.contains("nothing is written below a .git"),
        "{done:?}"
    );
    assert_eq!(
        fs::read_to_string(to.join("file")).expect("a file"),
        "new\n"
    );
    assert!(!to.join(".git").exists());
    assert_eq!(scene.read("file"), "old\n");
}
