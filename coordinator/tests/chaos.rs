//! The chaos suite as continuous integration runs it: many seeds, everything broken at random, and
//! nothing lost. `a3s-coordinator chaos --seed N` does one of these runs again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use a3s_testkit::{Process, Server, eventually};
use futures::future::join_all;
use serde_json::Value;
use tempfile::TempDir;

/// Seeds of the suite.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=20;

/// Runs at a time: one waits for leases while the other works.
const AT_A_TIME: usize = 2;

/// Far more than a run takes: one that hangs says so itself.
const BOUND: Duration = Duration::from_secs(400);

/// What a run printed, and its exit status.
async fn finish(mut process: Process) -> (i32, String) {
    let status = process.wait(BOUND).await;
    let said = format!("{}\n{}", process.stdout(), process.stderr());
    (status.code().unwrap_or(-1), said)
}

fn chaos(arguments: &[&str]) -> Process {
    Process::of("a3s-coordinator")
        .arg("chaos")
        .args(arguments)
        .start()
}

/// A run of its own seed, on its own server, told as JSON.
async fn run(seed: u64) -> Value {
    let mut process = chaos(&["--json", "--seed", &seed.to_string(), "--tasks", "2000"]);
    let status = process.wait(BOUND).await;
    let said = process.stdout();
    assert!(
        status.success(),
        "seed {seed}: {status}\n{said}\n{}",
        process.stderr()
    );
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("seed {seed}: {error}: {said}"))
}

#[tokio::test]
async fn twenty_seeds_lose_nothing_and_end_nothing_twice() {
    let (mut faults, mut again) = (0, 0);
    let seeds: Vec<u64> = SEEDS.collect();
    for some in seeds.chunks(AT_A_TIME) {
        for told in join_all(some.iter().copied().map(run)).await {
            let (seed, summary) = (&told["seed"], &told["summary"]);
            assert_eq!(summary["attempted"], 2_000, "seed {seed}");
            for nothing in ["lost", "duplicated"] {
                assert_eq!(summary[nothing], 0, "seed {seed}: {summary}");
            }
            let invariants = told["invariants"].as_array().expect("a list");
            assert_eq!(invariants.len(), 8);
            for invariant in invariants {
                assert_eq!(invariant["offences"], Value::Array(vec![]), "seed {seed}");
            }
            faults += summary["recoveries"].as_array().map_or(0, Vec::len);
            let executions = summary["executions"].as_object().expect("a histogram");
            let twice = executions.iter().filter(|(times, _)| times.as_str() > "1");
            again += twice.filter_map(|(_, tasks)| tasks.as_u64()).sum::<u64>();
        }
    }
    // Otherwise nothing was tried.
    assert!(faults > 100, "{faults} faults in all");
    assert!(again > 100, "{again} tasks were started again in all");
}

/// A short run whose ledger stays.
async fn kept() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = dir.path().to_str().expect("a path of letters");
    let process = chaos(&["--seed", "4", "--tasks", "100", "--ledger", ledger]);
    let (status, said) = finish(process).await;
    assert_eq!(status, 0, "{said}");
    dir
}

async fn check(dir: &Path) -> (i32, String) {
    finish(chaos(&[
        "--check",
        dir.to_str().expect("a path of letters"),
    ]))
    .await
}

/// Rewrites a JSON file of the ledger.
fn rewrite(dir: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let path = dir.join(name);
    let text = fs::read(&path).expect("a file of the ledger");
    let mut value = serde_json::from_slice(&text).expect("JSON");
    change(&mut value);
    fs::write(path, value.to_string()).expect("written");
}

#[tokio::test]
async fn a_ledger_with_a_lost_task_ends_with_status_1_the_seed_and_the_task() {
    let dir = kept().await;
    assert_eq!(check(dir.path()).await.0, 0);
    let mut lost = String::new();
    rewrite(dir.path(), "broker.json", |end| {
        let results = end["results"].as_array_mut().expect("results");
        let taken = results.pop().expect("one of a hundred");
        lost = taken["task"].as_str().expect("an id").to_owned();
    });
    let (status, said) = check(dir.path()).await;
    assert_eq!(status, 1, "{said}");
    for part in ["seed 4", "I1 BROKEN", lost.as_str()] {
        assert!(said.contains(part), "{part} is missing: {said}");
    }
}

#[tokio::test]
async fn a_second_start_in_the_ledger_ends_with_status_1() {
    let dir = kept().await;
    let log = fs::read_dir(dir.path())
        .expect("the ledger")
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("attempts.")
        })
        .expect("somebody worked");
    let text = fs::read_to_string(&log).expect("its log");
    let starts = text.lines().filter(|line| line.starts_with("start"));
    // Every start a second time, by an execution of another name.
    let again: String = starts
        .map(|line| line.replacen('-', "0-", 1) + "\n")
        .collect();
    fs::write(&log, text + &again).expect("written");
    let (status, said) = check(dir.path()).await;
    assert_eq!(status, 1, "{said}");
    assert!(said.contains("I4 BROKEN"), "{said}");
}

#[tokio::test]
async fn a_server_that_exists_is_used_and_spared() {
    let mut server = Server::start().await;
    let pid = server.pid();
    let process = Process::of("a3s-coordinator")
        .env("NATS_URL", server.url())
        .env("A3S_ACK_WAIT", "2")
        .args(["chaos", "--json", "--seed", "5", "--tasks", "400"])
        .start();
    let (status, said) = finish(process).await;
    assert_eq!(status, 0, "{said}");
    for harm in ["server-", "cut", "lost-acks", "half-open", "delay"] {
        assert!(!said.contains(&format!("\"harm\":\"{harm}")), "{said}");
    }
    assert!(said.contains("\"harm\":\"worker-"), "{said}");
    assert_eq!(server.pid(), pid, "it was not started again");
    server.stop().await;
}

#[tokio::test]
async fn a_run_that_is_interrupted_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = dir.path().join("ledger");
    let ledger = ledger.to_str().expect("a path of letters");
    let mut process = chaos(&["--tasks", "100000", "--ledger", ledger]);
    let attempts = || async {
        let entries = fs::read_dir(ledger).map_err(|error| error.to_string())?;
        let mut names = entries.flatten().map(|entry| entry.file_name());
        let begun = names.any(|name| name.to_string_lossy().starts_with("attempts."));
        begun.then_some(()).ok_or("no task has begun".to_owned())
    };
    eventually("a task begins", Duration::from_secs(60), attempts).await;
    process.terminate();
    let status = process.wait(Duration::from_secs(60)).await;
    assert_eq!(status.code(), Some(130), "{}", process.stderr());
    let left = of(ledger);
    assert!(left.is_empty(), "{left:?}");
}

/// The command lines of the processes that have to do with a ledger.
fn of(ledger: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("Linux").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(ledger))
        .collect()
}
