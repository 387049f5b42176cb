//! `compose.yaml` as a user starts it, with images made of local static binaries: the machine
//! that runs this test may be unable to pull or to compile inside a container.

mod docker;
mod drain;
mod images;
mod load;
mod regions;
mod stack;

use serde_json::Value;

use images::Images;
use stack::Stack;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_goes_through_the_containers_and_nothing_is_left_of_them() {
    if !docker::answers() {
        eprintln!("SKIPPED: compose.yaml, because no Docker engine answers");
        return;
    }
    let images = Images::shared();
    let stack = Stack::up(&images);

    let read = stack.submit(&["read", r#"{"path":"README.md"}"#]);
    assert!(read.contains("the first line"), "{read}");

    let bash = stack.submit(&[
        "bash",
        r#"{"command":"echo $((6 * 7)); hostname"}"#,
        "--json",
    ]);
    let bash: Value = serde_json::from_str(&bash).expect("the result is JSON");
    assert_eq!(bash["success"], true, "{bash}");
    let printed = bash["result"]["stdout"].as_str().unwrap_or_default();
    assert!(printed.starts_with("42\n"), "{bash}");

    let found = stack.coordinator(&["search", "first", "--timeout", "2m"]);
    assert_eq!(found.trim(), "README.md:1:the first line");

    stack.both_workers_are_there().await;
    stack.the_workspace_is_read_only();
    stack.a_wrong_password_is_refused();

    stack.the_coordinator_is_healthy().await;

    // What is stored outlives the server's container, and everyone finds the new one.
    stack.leave_a_task().await;
    stack.replace_the_server();
    stack.the_task_is_still_there().await;
    let again = stack.submit(&["read", r#"{"path":"README.md"}"#]);
    assert!(again.contains("the first line"), "{again}");

    stack.down();
}

#[test]
fn without_a_password_nothing_starts() {
    if !docker::answers() {
        eprintln!("SKIPPED: compose.yaml, because no Docker engine answers");
        return;
    }
    let refused = docker::compose()
        .args(["--file", "compose.yaml", "config"])
        .env_remove("A3S_PASSWORD")
        .output()
        .expect("compose can be run");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{said}");
    assert!(said.contains("set a password"), "{said}");
}
