//! `deploy/systemd`: systemd understands every line, and what the worker's unit says really
//! starts a worker.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use a3s_shared::runtime::locate::locate;
use a3s_testkit::{Process, Server, binary};
use tempfile::TempDir;

use crate::{BOUND, is_there, shipped};

/// The units, and the name of an instance where one is a template.
const UNITS: [(&str, &str); 3] = [
    ("a3s-coordinator.service", "a3s-coordinator.service"),
    ("a3s-nats.service", "a3s-nats.service"),
    ("a3s-worker@.service", "a3s-worker@eu.service"),
];

/// The exposure that `systemd-analyze security` may find, in tenths; 20 is well inside its "OK".
const EXPOSURE: &str = "20";

/// A key made for this test, and who it is.
const SEED: &str = "SUALKPPPHK3UW5BKBBGJUVWWJ52JME2QCTJVIQVQZJJOVLGH4ASICALBRM";
const KEY: &str = "UDWPKA2P6UB5KZDZBAHZKAVAR6IEFW5KRW4LASKFMPFK3H772AMLKOJ4";

#[test]
fn systemd_finds_nothing_to_say_of_the_units() {
    if !is_there("systemd-analyze", "--version") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (unit, instance) in UNITS {
        // A template is read like every instance of it, under the name of one.
        let file = dir.path().join(instance);
        fs::write(&file, with_programs(&unit_text(unit))).expect("it is written");
        systemd_accepts(&["verify", "--man=no", "--recursive-errors=one"], &file);
        let threshold = format!("--threshold={EXPOSURE}");
        let security = ["security", "--offline=true", "--no-pager", &threshold];
        let output = systemd(&security, &file);
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn a_drain_is_given_its_time_and_only_the_worker_is_told() {
    let unit = settings(&unit_text("a3s-worker@.service"));
    let drain = environment(&unit)["A3S_DRAIN"].clone();
    let seconds = |text: &str| text.parse::<u64>().expect("a number of seconds");
    let stop = seconds(&unit["TimeoutStopSec"][0]);
    assert!(stop >= seconds(&drain) + 15, "{stop} s for {drain} s");
    // Else every tool would be killed by the signal that asks for the drain.
    assert_eq!(unit["KillMode"], ["mixed"]);
    assert_eq!(unit["KillSignal"], ["SIGTERM"]);
}

#[tokio::test]
async fn a_worker_started_as_its_unit_says_serves_its_pool_and_drains() {
    let users = format!("authorization {{ users: [ {{ nkey: {KEY} }} ] }}");
    let server = Server::builder().config(&users).start().await;
    let dir = TempDir::with_prefix("a3s-unit-").expect("a temporary directory");
    let text = unit_text("a3s-worker@.service");
    let text = text.replace("%i", "eu");
    let text = text.replace("%d", &dir.path().display().to_string());
    fs::write(dir.path().join("nkey"), SEED).expect("it is written");
    let unit = settings(&text);

    let mut worker = Process::of("a3s-worker").current_dir(dir.path());
    for (name, value) in environment(&unit) {
        worker = worker.env(name, value);
    }
    // As /etc/a3s/env says.
    let mut worker = worker.env("NATS_URL", server.url()).start();
    worker.wait_for("ready for tasks", BOUND).await;
    let submit = Process::of("a3s-coordinator").args(["submit", "--pool", "eu", "noop", "{}"]);
    let submit = submit.env("NATS_URL", server.url());
    let mut submit = submit.env("NATS_NKEY", dir.path().join("nkey")).start();
    let done = submit.wait(BOUND).await;
    assert!(done.success(), "{done}: {}", submit.stderr());
    worker.terminate();
    let ended = worker.wait(BOUND).await;
    assert!(ended.success(), "{ended}");
}

/// What systemd says when it must say nothing.
#[track_caller]
fn systemd_accepts(arguments: &[&str], file: &Path) {
    let output = systemd(arguments, file);
    let said = said(&output);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

fn systemd(arguments: &[&str], file: &Path) -> std::process::Output {
    let mut command = Command::new("systemd-analyze");
    let output = command.args(arguments).arg(file).output();
    output.expect("it was there a moment ago")
}

fn said(output: &std::process::Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn unit_text(name: &str) -> String {
    let text = fs::read_to_string(shipped("systemd").join(name));
    text.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A unit whose programs are where they were built, as systemd looks for them.
fn with_programs(unit: &str) -> String {
    let server = locate().unwrap_or_else(|error| panic!("{error}")).path;
    let programs = [
        ("a3s-coordinator", binary("a3s-coordinator")),
        ("a3s-worker", binary("a3s-worker")),
        ("nats-server", server),
    ];
    programs.iter().fold(unit.to_owned(), |unit, (name, path)| {
        let installed = format!("ExecStart=/usr/local/bin/{name}");
        unit.replace(&installed, &format!("ExecStart={}", path.display()))
    })
}

/// Every setting of a unit with its values in order; sections are ignored, since no name of these
/// units is in two of them.
fn settings(unit: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let lines = unit.lines().filter(|line| !line.starts_with(['#', '[']));
    for (name, value) in lines.filter_map(|line| line.split_once('=')) {
        let values = settings.entry(name.to_owned()).or_default();
        values.push(value.to_owned());
    }
    settings
}

/// The variables that a unit sets.
fn environment(unit: &BTreeMap<String, Vec<String>>) -> BTreeMap<String, String> {
    let all = unit["Environment"].iter();
    let pairs = all.flat_map(|line| line.split_whitespace());
    let pairs = pairs.filter_map(|pair| pair.split_once('='));
    pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}
