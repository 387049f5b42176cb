//! What the keys of a region are good for: its workers' whole job, and no more. Both are tried, the
//! workers' key at the region's server and the key of the link at the hub.

use std::process::Command;

use a3s_testkit::ProcessBuilder;
use serde_json::{Value, json};

use crate::world::{BOUND, World};

/// A tool that asks for another attempt, always.
const AGAIN: &str = "#!/bin/sh\nexit 75\n";

#[tokio::test]
async fn the_keys_of_a_region_are_good_for_its_workers_whole_job() {
    let Some(world) = World::start().await else {
        return;
    };
    world.hub.run(&["pool", "eu", "--policy", "any"]).await;
    let tool = format!("again={}", world.program("again", AGAIN).display());
    let options = ["--pool", "eu", "--tool", &tool];
    let _worker = world.eu.worker("eu-1", &options).await;
    // A body over 256 KiB goes by the object store, and so does a result.
    let large = json!({ "file_path": "large", "content": "x".repeat(400_000) });
    let written = task(&world, "write", &large).await;
    assert_eq!(written["success"], true, "{written}");
    let read = task(&world, "read", &json!({ "file_path": "large" })).await;
    assert_eq!(
        read["result"]["content"].as_str().map(str::len),
        Some(400_000)
    );
    let buried = task(&world, "again", &json!({})).await;
    assert_eq!(buried["outcome"], "dead_lettered", "{buried}");
    let letters = world.hub.run(&["dlq", "ls", "--json"]).await;
    assert_eq!(letters.lines().count(), 1, "{letters}");
}

#[tokio::test]
async fn the_keys_of_a_region_are_good_for_nothing_else() {
    let Some(world) = World::start().await else {
        return;
    };
    if Command::new("nats").arg("--version").output().is_err() {
        eprintln!("SKIPPED: there is no nats CLI to try the keys of a region with");
        return;
    }
    world.hub.run(&["pool", "eu", "--policy", "any"]).await;
    // A task to look at, and the proof that the CLI can: nobody serves it.
    let coordinator = || world.hub.nats();
    for allowed in [
        &["pub", "a3s.s.query.eu", "{}"][..],
        &["stream", "get", "A3S_TASKS", "1"],
    ] {
        let mut process = coordinator().args(allowed).start();
        assert!(
            process.wait(BOUND).await.success(),
            "{allowed:?}: {}",
            process.stderr()
        );
    }
    let keys: [(&str, &dyn Fn() -> ProcessBuilder); 2] = [
        ("a worker's key at its region", &|| world.eu.nats()),
        ("the link's key at the hub", &|| {
            world.hub.nats_as(&world.eu)
        }),
    ];
    for (who, nats) in keys {
        for attempt in [
            &["stream", "purge", "A3S_TASKS", "--force"][..],
            &["stream", "rm", "A3S_RESULTS", "--force"],
            &["consumer", "rm", "A3S_TASKS", "pool-eu-query", "--force"],
            &["kv", "ls", "a3s_sessions"],
            &["stream", "get", "A3S_TASKS", "1"],
        ] {
            let mut process = nats().args(["--timeout", "1s"]).args(attempt).start();
            let refused = !process.wait(BOUND).await.success();
            assert!(refused, "{who}: {attempt:?}: {}", process.stdout());
        }
        // A publish is not answered: what counts is that nothing came of it.
        for subject in ["a3s.s.query.eu", "a3s.s.cancel.t", "a3s.s.done.t"] {
            let mut process = nats().args(["pub", subject, "{}"]).start();
            process.wait(BOUND).await;
        }
    }
    for (stream, expected) in [("A3S_TASKS", 1), ("A3S_CANCELS", 0)] {
        let mut info = coordinator()
            .args(["stream", "info", stream, "--json"])
            .start();
        assert!(info.wait(BOUND).await.success(), "{}", info.stderr());
        let info: Value = serde_json::from_str(&info.stdout()).expect("JSON");
        assert_eq!(info["state"]["messages"], expected, "{stream}");
    }
}

/// Runs one task in the region's pool and returns its result.
async fn task(world: &World, tool: &str, payload: &Value) -> Value {
    let line = json!({ "command_type": tool, "lane": "query", "payload": payload });
    let file = world.file("one.jsonl", &format!("{line}\n"));
    let file = file.display().to_string();
    let mut batch = world.hub.coordinator(&["batch", "--pool", "eu", &file]);
    batch.wait(BOUND).await;
    let stdout = batch.stdout();
    serde_json::from_str(stdout.trim()).unwrap_or_else(|e| panic!("{e}: {}", batch.stderr()))
}
