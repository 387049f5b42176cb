//! A body of 64 MiB, there and back, in memory that is bounded.

use std::fs;
use std::time::Duration;

use a3s_testkit::{Process, Server};
use serde_json::{Value, json};

use crate::stage::{BOUND, Stage};

/// The length of the payload's text, in bytes.
const LENGTH: usize = 64 * 1024 * 1024;

/// The most memory that a process may take, in multiples of the body: what was read, the value
/// that it means, what is written of it, and each once more while a buffer grows.
const MOST: usize = 10;

/// The most memory that a process has had so far, in bytes.
fn peak(process: &Process) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[tokio::test]
async fn a_body_of_64_mib_goes_there_and_back_in_bounded_memory() {
    let server = Server::start().await;
    let stage = Stage::new();
    let worker = stage.worker(server.url(), &[]).await;
    let text = "x".repeat(LENGTH);
    let payload = json!({ "reply": { "text": text } }).to_string();
    let file = stage.file("payload.json", &payload);
    let mut submit = stage.submit(server.url(), &["noop", &format!("@{file}"), "--json"]);
    let mut most = 0;
    while submit.is_running() {
        most = most.max(peak(&submit).unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = submit.wait(BOUND).await;
    assert!(status.success(), "{status}: {}", submit.stderr());
    let result: Value = serde_json::from_str(&submit.stdout()).expect("a result");
    let back = result["result"]["text"].as_str().expect("the text");
    assert!(back == text, "{} bytes came back", back.len());
    let took = |name: &str, bytes: usize| {
        let times = bytes / LENGTH;
        println!("{name}: {} MiB, {times} times the body", bytes >> 20);
        assert!(times < MOST, "{name} took {times} times the body");
    };
    took("submit", most);
    took("the worker", peak(&worker).expect("it lives"));
}
