//! Every worker of this repository passes the suite, and a wrong one does not.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

/// Suites run one after the other: each is enough for a small machine.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The suite with some options, against a worker.
fn suite<W: AsRef<OsStr>>(options: &[&str], worker: &[W]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_a3s-conformance"));
    command.arg("--json").args(options).arg("--").args(worker);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the suite is built and starts")
}

/// The verdicts of a run: the case, and why it failed, if it did.
fn verdicts(output: &Output) -> Vec<(String, Option<String>)> {
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let verdicts = lines.lines().map(|line| {
        let verdict: Value = serde_json::from_str(line).expect("a line of JSON");
        let name = verdict["case"].as_str().unwrap_or_default().to_owned();
        (name, verdict["failure"].as_str().map(str::to_owned))
    });
    verdicts.collect()
}

/// Runs the suite and expects that at least `cases` were tried and none failed.
fn passes(command: &mut Command, cases: usize) {
    let output = run(command);
    let verdicts = verdicts(&output);
    for (name, failure) in &verdicts {
        if let Some(failure) = failure {
            eprintln!("FAIL {name}: {failure}");
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(
        verdicts.len() >= cases,
        "{} cases were tried",
        verdicts.len()
    );
}

fn is_there(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    let command = command.env("PYTHONPATH", python_path());
    let output = command.stdin(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

fn python_path() -> PathBuf {
    root().join("sdk/python/src")
}

#[test]
fn the_rust_worker_passes_all_cases() {
    let _turn = turn();
    passes(&mut suite(&[], &[env!("CARGO_BIN_EXE_rust-worker")]), 80);
}

#[test]
fn a_worker_in_shell_passes_the_basic_cases() {
    if !is_there("nats", &["--version"]) || !is_there("jq", &["--version"]) {
        eprintln!("SKIPPED: docs/examples/worker.sh needs the nats CLI and jq");
        return;
    }
    let _turn = turn();
    passes(&mut suite(&["--basic"], &["docs/examples/worker.sh"]), 7);
}

#[test]
fn the_python_worker_passes_all_cases() {
    let worker = "sdk/python/conformance_worker.py";
    if !root().join(worker).is_file() {
        eprintln!("SKIPPED: there is no {worker}");
        return;
    }
    let python = std::env::var("A3S_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !is_there(&python, &["-c", "import nats, msgpack, a3s_worker"]) {
        eprintln!("SKIPPED: {python} has not what sdk/python needs (A3S_PYTHON names another)");
        return;
    }
    let _turn = turn();
    let mut command = suite(&[], &[python.as_str(), worker]);
    passes(command.env("PYTHONPATH", python_path()), 80);
}

#[test]
fn the_node_worker_passes_all_cases() {
    let worker = "sdk/node/conformance-worker.mjs";
    if !root().join(worker).is_file() {
        eprintln!("SKIPPED: there is no {worker}");
        return;
    }
    let built =
        root().join("sdk/node/dist").is_dir() && root().join("sdk/node/node_modules").is_dir();
    if !built || !is_there("node", &["--version"]) {
        eprintln!("SKIPPED: sdk/node is not built (npm ci && npm run build)");
        return;
    }
    let _turn = turn();
    passes(&mut suite(&[], &["node", worker]), 80);
}

/// A mistake, the case that has to find it, and a part of what it says then.
const MISTAKES: [(&str, &str, &str); 19] = [
    (
        "acks-first",
        "a_task_is_acknowledged_after_its_result_and_confirmed",
        "before its result",
    ),
    (
        "acks-blindly",
        "a_task_is_acknowledged_after_its_result_and_confirmed",
        "hear the ack",
    ),
    (
        "overwrites",
        "a_result_that_comes_second_is_no_failure",
        "another result",
    ),
    (
        "forgets-results",
        "a_task_that_has_a_result_is_only_acknowledged",
        "started 1 times",
    ),
    (
        "runs-twice",
        "a_result_that_comes_second_is_no_failure",
        "started 2 times",
    ),
    (
        "renews-nothing",
        "a_task_longer_than_the_lease_runs_once",
        "",
    ),
    (
        "ignores-cancels",
        "a_running_task_is_stopped_and_answered_cancelled",
        "there is none",
    ),
    (
        "ignores-deadlines",
        "a_running_task_is_stopped_at_its_deadline",
        "there is none",
    ),
    (
        "claims-late",
        "a_once_task_is_claimed_before_its_tool_starts",
        "nobody has claimed",
    ),
    (
        "starts-unclaimed",
        "a_claim_that_was_taken_meanwhile_is_respected",
        "not unknown",
    ),
    (
        "ignores-records",
        "a_redelivery_with_an_open_claim_is_answered_unknown",
        "there is none",
    ),
    (
        "ignores-records",
        "deliveries_that_were_handed_back_are_none",
        "dead-lettered",
    ),
    (
        "never-gives-up",
        "attempts_that_are_used_up_bury_the_task",
        "there is none",
    ),
    (
        "greedy",
        "no_more_is_held_than_can_be_run",
        "tasks were held",
    ),
    (
        "always-json",
        "a_result_is_written_as_its_task_was",
        "answered in JSON",
    ),
    (
        "retries-nonsense",
        "an_unreadable_task_is_buried",
        "there is none",
    ),
    (
        "drops-on-term",
        "a_drain_finishes_what_runs",
        "unacknowledged",
    ),
    (
        "drops-failed-results",
        "a_tool_that_fails_has_a_result",
        "is lost",
    ),
    (
        "leaves-bodies",
        "the_body_of_a_finished_task_is_removed",
        "are stored",
    ),
];

const WRONG: &str = env!("CARGO_BIN_EXE_wrong-worker");

#[test]
fn a_worker_without_the_mistakes_passes_the_cases_that_find_them() {
    let _turn = turn();
    let cases: BTreeSet<_> = MISTAKES.iter().map(|(_, case, _)| *case).collect();
    let options: Vec<_> = cases.iter().flat_map(|case| ["--only", case]).collect();
    passes(&mut suite(&options, &[WRONG]), cases.len());
}

#[test]
fn every_mistake_is_found_by_its_case() {
    let _turn = turn();
    for some in MISTAKES.chunks(4) {
        std::thread::scope(|scope| {
            for (fault, case, reason) in some {
                scope.spawn(move || finds(fault, case, reason));
            }
        });
    }
}

/// Expects that a case fails a worker with this fault, and says why.
fn finds(fault: &str, case: &str, reason: &str) {
    let options = ["--patience", "15", "--only", case];
    let output = run(&mut suite(&options, &[WRONG, "--fault", fault]));
    let verdicts = verdicts(&output);
    assert_eq!(verdicts.len(), 1, "{case} is one case");
    let failure = verdicts[0].1.as_deref();
    let said = failure.and_then(|failure| failure.lines().next());
    let found = said.is_some_and(|said| said.contains(reason));
    assert!(found, "{fault}: {case} says {said:?}, not {reason:?}");
    assert_eq!(output.status.code(), Some(1), "{fault}");
}

#[test]
fn what_cannot_be_tried_is_said_at_once() {
    let output = run(&mut suite::<&str>(&[], &[]));
    assert_eq!(output.status.code(), Some(2));
    let output = run(&mut suite(&["--only", "no_such_case"], &["true"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_worker_that_cannot_be_started_fails_and_does_not_hang() {
    let options = ["--only", "a_task_needs_nothing", "--patience", "5"];
    let output = run(&mut suite(&options, &["/no/such/worker"]));
    assert_eq!(output.status.code(), Some(1));
    let (_, failure) = &verdicts(&output)[0];
    let said = failure.as_deref().unwrap_or_default();
    assert!(said.contains("cannot start worker"), "{said}");
}

#[test]
fn the_manual_lists_every_case() {
    let manual = std::fs::read_to_string(root().join("docs/conformance.md"));
    let manual = manual.expect("docs/conformance.md is there");
    let absent: Vec<_> = a3s_conformance::cases::all()
        .into_iter()
        .filter(|case| !manual.contains(&case.name.replace('_', " ")))
        .map(|case| case.name)
        .collect();
    assert!(absent.is_empty(), "docs/conformance.md lacks {absent:?}");
}
