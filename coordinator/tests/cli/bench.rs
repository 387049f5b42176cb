//! `bench`: what it prints of the workers that are there, and what it says when none is.

use serde_json::Value;

use crate::stage::Stage;

#[tokio::test]
async fn a_bench_counts_and_times_real_tasks() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&["--concurrency", "4"]).await;
    let options = [
        "bench",
        "--json",
        "--for",
        "300ms",
        "--in-flight",
        "4",
        "--sessions",
        "3",
    ];
    let done = stage.run(&options).await;
    assert_eq!(done.status, 0, "{done:?}");
    let seen: Value = serde_json::from_str(&done.stdout).expect("one JSON object");
    let tasks = seen["tasks"].as_u64().expect("a number");
    assert!(tasks > 0 && seen["workers"] == 1, "{seen}");
    let at = |times: &str, point: &str| seen[times][point].as_u64().expect("a number");
    assert!(at("result_us", "p50") <= at("result_us", "p99"), "{seen}");
    assert!(at("start_us", "p50") <= at("result_us", "p50"), "{seen}");

    let results = stage
        .server
        .jetstream()
        .await
        .get_stream("A3S_RESULTS")
        .await;
    let stored = results
        .expect("it exists")
        .get_info()
        .await
        .expect("it answers")
        .state;
    // The tasks of the warm-up are stored too.
    assert!(
        stored.messages >= tasks,
        "{} results of {tasks} tasks",
        stored.messages
    );
    assert_eq!(stored.messages, stored.subjects_count, "one result a task");
}

#[tokio::test]
async fn a_bench_without_workers_says_so_at_once() {
    let stage = Stage::new().await;
    let done = stage.run(&["bench"]).await;
    assert_eq!((done.status, done.stdout.as_str()), (3, ""), "{done:?}");
    assert!(done.stderr.contains("a3s-worker"), "{done:?}");
}
