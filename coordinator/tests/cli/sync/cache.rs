//! The workers' cache: built once, whole or not at all, and bounded.

use std::fs;

use serde_json::json;

use super::{Scene, entries};
use crate::stage::{SOON, finish};

#[tokio::test]
async fn a_worker_killed_while_it_makes_the_tree_costs_nothing() {
    let scene = Scene::new().await;
    for n in 0..3_000 {
        scene.write(&format!("d{}/f{n}", n % 50), format!("content {n}"));
    }
    let mut doomed = scene.worker(&["-j1"]).await;
    // Retried, because the death of its worker is an attempt.
    let arguments = [
        "map",
        "--sync",
        "--retries",
        "3",
        "ls d* | grep -c ^f; : {}",
        ":::",
        "x",
    ];
    let map = scene.coordinator(&arguments).start();
    let contents = scene.cache().join("1/contents");
    a3s_testkit::eventually("the first contents", SOON, || async {
        match entries(&contents) {
            0 => Err("nothing yet"),
            _ => Ok(()),
        }
    })
    .await;
    doomed.kill();
    assert_eq!(scene.trees(), 0, "killed in the middle");
    let _other = scene.worker(&["-j1"]).await;
    let done = finish(map).await;
    assert_eq!((done.status, done.stdout.trim()), (0, "3000"), "{done:?}");
    let runs = fs::read_dir(scene.cache().join("1/run")).expect("a directory");
    let locks = runs
        .flatten()
        .filter(|entry| entry.path().extension().is_some());
    assert_eq!(locks.count(), 1, "what the dead one left is swept");
}

#[tokio::test]
async fn the_cache_keeps_to_its_size_and_a_larger_tree_is_refused() {
    let scene = Scene::new().await;
    let _worker = scene.worker(&["-j1", "--cache-size", "100K"]).await;
    for n in 0..4 {
        scene.write("file", n.to_string().repeat(40_000));
        let cat = scene
            .succeed(&["map", "--sync", "head -c1 {}", ":::", "file"])
            .await;
        assert_eq!(cat, n.to_string());
        assert!(scene.trees() <= 2, "{} trees of 40 kB", scene.trees());
    }
    scene.write("file", "x".repeat(110_000));
    let read = json!({"id": "1", "command_type": "read", "payload": {"path": "file"}});
    let answers = scene.batch(&[read]).await;
    assert_eq!(answers[0]["error_kind"], "refused", "{}", answers[0]);
    let error = answers[0]["error"].as_str().unwrap_or_default();
    assert!(error.contains("--cache-size"), "{error}");
}

#[tokio::test]
async fn a_tree_that_is_not_in_the_store_fails_the_task_by_name() {
    let scene = Scene::new().await;
    let _worker = scene.worker(&["-j1"]).await;
    let nats = "nats";
    let subject = "a3s.s.query";
    let none = "0".repeat(64);
    let output = std::process::Command::new(nats)
        .args(["--server", scene.stage.server.url(), "pub", subject])
        .args(["-H", &format!("A3s-Workspace:{none}")])
        .args(["-H", "A3s-Max-Attempts:2", "-H", "A3s-Retry-Delay:fixed:10"])
        .arg(r#"{"command_type":"read","task_id":"t","payload":{"path":"file"}}"#)
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "the nats CLI: {error}");
            eprintln!("SKIPPED: a tree that is not in the store, without the nats CLI: {error}");
            return;
        }
    }
    let show = ["task", "show", "--json", "--session", "s", "t"];
    a3s_testkit::eventually("the dead letter", SOON, || async {
        let done = scene.run(&show).await;
        let told = done.stdout.contains("is not in the store") && done.stdout.contains("dead");
        told.then_some(()).ok_or(format!("{done:?}"))
    })
    .await;
}
