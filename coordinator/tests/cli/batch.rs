//! `batch`: as many results as tasks, whatever some lines hold.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::stage::Stage;

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

#[tokio::test]
async fn every_task_has_one_result() {
    const TASKS: usize = 10_000;
    let stage = Stage::new().await;
    stage.write("a.txt", "content\n");
    let _workers = [
        stage.worker(&["-j4"]).await,
        stage.worker(&["-j4"]).await,
        stage.worker(&["-j4"]).await,
    ];
    let task = json!({"command_type": "read", "payload": {"path": "a.txt"}});
    stage.write("tasks.ndjson", format!("{task}\n").repeat(TASKS));
    let done = stage.run(&["batch", "tasks.ndjson"]).await;
    assert_eq!(done.status, 0, "{}", done.stderr);
    let results = lines(&done.stdout);
    assert_eq!(results.len(), TASKS);
    let indices: BTreeSet<_> = results.iter().map(|r| r["index"].as_u64()).collect();
    assert_eq!(indices.len(), TASKS);
    assert!(
        results
            .iter()
            .all(|result| result["result"]["content"] == "content\n")
    );
}

#[tokio::test]
async fn a_bad_line_is_answered_and_the_rest_runs() {
    let stage = Stage::new().await;
    stage.write("a.txt", "content\n");
    let _worker = stage.worker(&[]).await;
    let input = [
        r#"{"command_type":"read","payload":{"path":"a.txt"},"id":"first"}"#,
        "",
        "{not json",
        r#"{"command_type":"read","payload":{"path":"nosuch"}}"#,
        r#"{"command_type":"nosuch_tool"}"#,
        r#"{"command_type":"read","payload":{"path":"a.txt"},"id":"first"}"#,
        r#"{"command_type":"bash","payload":{"command":"sleep 30"},"timeout_ms":300}"#,
    ]
    .join("\n");
    let done = stage.run_with(&["batch", "-"], &input).await;
    assert_eq!(done.status, 1);
    assert!(done.stderr.contains("line 3: "), "{}", done.stderr);
    assert!(
        done.stderr.contains("line 6: id \"first\""),
        "{}",
        done.stderr
    );
    let mut results = lines(&done.stdout);
    results.sort_by_key(|result| result["index"].as_u64());
    let kinds: Vec<&Value> = results.iter().map(|result| &result["error_kind"]).collect();
    assert_eq!(
        json!(kinds),
        json!([
            null,
            "invalid_input",
            null,
            "unknown_command",
            "invalid_input",
            "timed_out"
        ])
    );
    assert_eq!(results[0]["id"], "first");
    assert_eq!(results[0]["success"], true);
    assert_eq!(results[1]["line"], 3);
}

#[tokio::test]
async fn a_missing_file_is_an_error_of_usage() {
    let stage = Stage::new().await;
    let done = stage.run(&["batch", "nosuch.ndjson"]).await;
    assert_eq!(done.status, 2);
    assert!(done.stderr.contains("nosuch.ndjson"), "{}", done.stderr);
}
