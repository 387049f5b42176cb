//! `submit`: one task, and an exit status for every way it can end.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::stage::{SOON, Stage, finish};

#[tokio::test]
async fn the_exit_status_says_how_the_task_ended() {
    let stage = Stage::new().await;
    stage.write("a.txt", "content\n");
    let _worker = stage.worker(&[]).await;
    let cases: &[(&[&str], i32)] = &[
        (&["read", r#"{"path":"a.txt"}"#], 0),
        (&["read", r#"{"path":"nosuch"}"#], 1),
        (&["bash", r#"{"command":"exit 7"}"#], 1),
        (&["nosuch_tool", "{}"], 1),
        (&["read", "{path}"], 2),
        (&["read", "{}", "--session", "a.b"], 2),
        (
            &["bash", r#"{"command":"sleep 300"}"#, "--timeout", "300ms"],
            4,
        ),
    ];
    for (arguments, status) in cases {
        let done = stage.run(&[&["submit"], *arguments].concat()).await;
        assert_eq!(done.status, *status, "{arguments:?}: {done:?}");
        let silent = done.stderr.is_empty();
        assert_eq!(silent, *status == 0, "{arguments:?}: {done:?}");
    }
}

#[tokio::test]
async fn the_tools_output_is_printed_or_the_whole_result() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&[]).await;
    let task = ["submit", "bash", r#"{"command":"echo out; exit 3"}"#];
    let done = stage.run(&task).await;
    assert_eq!(done.stdout, "out\n");
    let done = stage
        .run(&[&task[..], &["--json", "--id", "t1", "--session", "s1"]].concat())
        .await;
    let result: Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(result["task_id"], "t1");
    assert_eq!(result["session_id"], "s1");
    assert_eq!(result["result"]["exit_code"], 3);
    assert_eq!(done.status, 1);
}

#[tokio::test]
async fn a_payload_is_read_from_a_file_and_from_standard_input() {
    let stage = Stage::new().await;
    stage.write("p.json", r#"{"command":"echo from file"}"#);
    let _worker = stage.worker(&[]).await;
    let done = stage.run(&["submit", "bash", "@p.json"]).await;
    assert_eq!(done.stdout, "from file\n");
    let done = stage
        .run_with(&["submit", "bash", "-"], r#"{"command":"echo piped"}"#)
        .await;
    assert_eq!(done.stdout, "piped\n");
}

#[tokio::test]
async fn a_lane_that_nobody_serves_is_told_within_a_second() {
    let stage = Stage::new().await;
    let _worker = stage.worker(&["--lanes", "execute"]).await;
    let began = Instant::now();
    let waiting = stage
        .coordinator(&["submit", "read", "{}", "--timeout", "2s"])
        .start();
    waiting
        .wait_for("no worker serves lane query of pool default", SOON)
        .await;
    // The process itself takes a moment to start on a busy machine.
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(
        waiting.stderr().contains("a3s-worker --lanes query"),
        "{}",
        waiting.stderr()
    );
    let done = finish(waiting).await;
    assert_eq!(done.status, 4, "{}", done.stderr);
    let done = stage
        .run(&["submit", "read", "{}", "--require-worker"])
        .await;
    assert_eq!(done.status, 3, "{}", done.stderr);
}

#[tokio::test]
async fn a_worker_that_comes_later_takes_the_task() {
    let stage = Stage::new().await;
    stage.write("a.txt", "content\n");
    let waiting = stage
        .coordinator(&["submit", "read", r#"{"path":"a.txt"}"#])
        .start();
    waiting.wait_for("no worker serves", SOON).await;
    let _worker = stage.worker(&[]).await;
    let done = finish(waiting).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert!(done.stdout.contains("content"));
}

#[tokio::test]
async fn without_a_server_the_error_says_what_to_do() {
    let stage = Stage::new().await;
    let silent = stage
        .coordinator(&["submit", "read", "{}"])
        .env("NATS_URL", "nats://127.0.0.1:9");
    let done = finish(silent.start()).await;
    assert_eq!(done.status, 3);
    assert!(
        done.stderr.contains("a3s-coordinator serve"),
        "{}",
        done.stderr
    );
}
