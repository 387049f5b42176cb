//! `deploy/kubernetes`: every overlay is built and read as the API server would read it, with the
//! API's own types and KEDA's own schema (`deploy/kubernetes/check`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::{is_there, shipped};

/// Whose sources have the schema of a ScaledObject.
const KEDA: &str = "github.com/kedacore/keda/v2@v2.21.0";

/// What those sources are, as `go.sum` would have it.
const KEDA_SUM: &str = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=";

/// Changes that make a manifest wrong: the file, what is replaced, by what, and what must be said.
const MISTAKES: [(&str, &str, &str, &str); 6] = [
    (
        "base/worker.yaml",
        "readOnlyRootFilesystem:",
        "readonlyRootFilesystem:",
        "unknown field",
    ),
    (
        "base/worker.yaml",
        "terminationGracePeriodSeconds: 90",
        "terminationGracePeriodSeconds: 60",
        "killed too early",
    ),
    (
        "base/worker.yaml",
        "runAsNonRoot: true",
        "runAsNonRoot: false",
        "may be root",
    ),
    (
        "base/disruption.yaml",
        "a3s-worker",
        "a3s-wroker",
        "budget worker is of no pods",
    ),
    (
        "keda/scaled-object.yaml",
        "pollingInterval: 5",
        "pollingInterval: soon",
        "pollingInterval",
    ),
    (
        "keda/scaled-object.yaml",
        "stream: A3S_TASKS",
        "streams: A3S_TASKS",
        "lacks stream",
    ),
];

#[test]
fn every_overlay_is_what_the_api_takes_and_a_mistake_is_not() {
    if !is_there("go", "version") {
        return;
    }
    let checker = Checker::build();
    let overlays = ["kubernetes/overlays/fleet", "kubernetes/overlays/own-nats"];
    let whole = copy_of_deploy();
    let output = checker.check(whole.path(), &overlays);
    assert!(output.status.success(), "{}", said(&output));

    for (file, right, wrong, complaint) in MISTAKES {
        let copy = copy_of_deploy();
        let file = copy.path().join("kubernetes").join(file);
        let text = fs::read_to_string(&file).expect("it is readable");
        assert!(text.contains(right), "{}: no {right:?}", file.display());
        fs::write(&file, text.replacen(right, wrong, 1)).expect("it is written");
        let output = checker.check(copy.path(), &overlays[..1]);
        assert!(!output.status.success(), "{wrong} was accepted");
        assert!(said(&output).contains(complaint), "{}", said(&output));
    }
}

/// The program of `deploy/kubernetes/check`, and what it needs.
struct Checker {
    dir: TempDir,
    keda: PathBuf,
}

impl Checker {
    fn build() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut build = Command::new("go");
        build
            .args(["build", "-o"])
            .arg(dir.path().join("check"))
            .arg(".");
        let build = build.current_dir(shipped("kubernetes/check")).output();
        let build = build.expect("go was there a moment ago");
        assert!(build.status.success(), "{}", said(&build));
        let keda = keda_sources(dir.path());
        Self { dir, keda }
    }

    fn check(&self, deploy: &Path, overlays: &[&str]) -> Output {
        let mut command = Command::new(self.dir.path().join("check"));
        command.args(overlays).current_dir(deploy);
        let output = command.env("KEDA", &self.keda).output();
        output.expect("it has been built")
    }
}

/// Where the sources of KEDA are. Their sum is here, so that no database of sums has to be asked.
fn keda_sources(dir: &Path) -> PathBuf {
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", KEDA]);
    let download = download.env("GONOSUMDB", "*").current_dir(dir).output();
    let download = download.expect("go was there a moment ago");
    assert!(download.status.success(), "{}", said(&download));
    let module: Value = serde_json::from_slice(&download.stdout).expect("JSON");
    assert_eq!(module["Sum"], KEDA_SUM, "these are other sources of KEDA");
    module["Dir"].as_str().expect("a directory").into()
}

/// A copy of what an overlay may refer to, to be changed.
fn copy_of_deploy() -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for part in ["cluster", "kubernetes"] {
        copy_tree(&shipped(part), &copy.path().join(part));
    }
    copy
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory in the copy");
    for entry in fs::read_dir(from).expect("it is readable") {
        let entry = entry.expect("it is readable");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("its kind is known").is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("it is copied")),
        }
    }
}

fn said(output: &Output) -> String {
    let all = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}
