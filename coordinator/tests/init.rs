//! `init` writes an installation, and over none.

use std::path::Path;
use std::time::Duration;

use a3s_shared::runtime::locate::locate;
use a3s_testkit::Process;

const BOUND: Duration = Duration::from_secs(60);

/// Runs it; its exit status, and what it printed.
async fn init(dir: &Path, options: &[&str]) -> (Option<i32>, String) {
    let mut init = Process::of("a3s-coordinator")
        .arg("init")
        .arg(dir)
        .args(options)
        .start();
    let status = init.wait(BOUND).await;
    (status.code(), init.stdout() + &init.stderr())
}

/// Whether nats-server understands a configuration.
async fn is_understood(dir: &Path, config: &str) {
    let binary = locate().unwrap_or_else(|error| panic!("{error}"));
    let mut check = Process::at(&binary.path)
        .args(["-t", "--config", config])
        .current_dir(dir)
        .start();
    let status = check.wait(BOUND).await;
    assert!(
        status.success(),
        "{config}: {}{}",
        check.stdout(),
        check.stderr()
    );
}

#[tokio::test]
async fn every_configuration_it_writes_is_understood_by_the_server() {
    let dir = tempfile::tempdir().expect("a directory");
    let options = [
        "--tls",
        "--region",
        "eu",
        "--region",
        "ap",
        "--session",
        "abc",
        "--pool",
        "gpu",
        "--lanes",
        "query,execute",
        "--host",
        "hub.example.org",
    ];
    let (status, output) = init(dir.path(), &options).await;
    assert_eq!(status, Some(0), "{output}");
    for config in ["nats.conf", "leaf-eu.conf", "leaf-ap.conf"] {
        is_understood(dir.path(), config).await;
    }
    for file in [
        "keys/worker-pool-gpu.query.nk  (secret)",
        "coordinator-session-abc.env",
        "tls/ca.pem",
    ] {
        assert!(output.contains(file), "{file} is not in {output}");
    }
    assert!(
        output.contains("nats-server --config nats.conf"),
        "{output}"
    );
}

#[tokio::test]
async fn it_overwrites_nothing_and_names_what_is_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let (status, output) = init(dir.path(), &[]).await;
    assert_eq!(status, Some(0), "{output}");
    let key = dir.path().join("keys/coordinator.nk");
    let before = std::fs::read_to_string(&key).expect("the key");
    let (status, output) = init(dir.path(), &["--region", "eu"]).await;
    assert_eq!(status, Some(2), "{output}");
    assert!(
        output.contains("is there already, and nothing was written"),
        "{output}"
    );
    assert!(
        !dir.path().join("leaf-eu.conf").exists(),
        "nothing was written"
    );
    assert_eq!(std::fs::read_to_string(&key).expect("the key"), before);
}

#[tokio::test]
async fn a_name_that_cannot_be_one_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a directory");
    for options in [
        ["--region", "own"],
        ["--pool", "query"],
        ["--session", "a.b"],
    ] {
        let (status, output) = init(dir.path(), &options).await;
        assert_eq!(status, Some(2), "{options:?}: {output}");
        let written = std::fs::read_dir(dir.path())
            .expect("it is readable")
            .count();
        assert_eq!(written, 0, "{options:?}");
    }
}
