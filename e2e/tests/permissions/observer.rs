//! The observer, with the `nats` CLI.

use std::process::Command;

use a3s_testkit::Process;

use crate::BOUND;
use crate::installation::Installation;
use crate::intruder::Intruder;

/// Whether the CLI is here. In CI it must be.
fn nats_cli_is_there() -> bool {
    let there = Command::new("nats").arg("--version").output().is_ok();
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(there || !ci, "the `nats` CLI is not installed");
    if !there {
        eprintln!("SKIPPED: the observer, because the `nats` CLI is not installed");
    }
    there
}

/// Runs the `nats` CLI as the observer, as `init` says how.
fn nats(installation: &Installation, arguments: &[&str]) -> Process {
    let key = installation.dir().join("keys/observer.nk");
    let home = installation.dir();
    let mut nats = Process::at("nats")
        .env("HOME", home)
        .env("XDG_CONFIG_HOME", home)
        .args([
            "--server",
            installation.url(),
            "--inbox-prefix",
            "_INBOX_observer",
            "--nkey",
        ])
        .arg(key)
        .args(arguments)
        .start();
    drop(nats.stdin());
    nats
}

async fn shows(installation: &Installation, arguments: &[&str], expected: &str) {
    let mut nats = nats(installation, arguments);
    let status = nats.wait(BOUND).await;
    let output = nats.stdout() + &nats.stderr();
    assert!(status.success(), "nats {arguments:?}: {output}");
    assert!(
        output.contains(expected),
        "nats {arguments:?} does not show {expected:?}: {output}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_watches_with_the_nats_cli_and_can_do_nothing_else() {
    if !nats_cli_is_there() {
        return;
    }
    let installation = Installation::new(&[]).await.with_streams().await;
    let worker = installation
        .worker_process("worker-pool-default")
        .args(["--worker-id", "w1"])
        .start();
    worker.wait_for("ready for tasks", BOUND).await;

    shows(&installation, &["stream", "ls"], "A3S_TASKS").await;
    shows(
        &installation,
        &["stream", "info", "A3S_RESULTS"],
        "a3s.*.result.*",
    )
    .await;
    shows(&installation, &["stream", "subjects", "A3S_TASKS"], "").await;
    shows(
        &installation,
        &["consumer", "report", "A3S_TASKS"],
        "pool-default-query",
    )
    .await;
    shows(
        &installation,
        &["consumer", "info", "A3S_TASKS", "pool-default-query"],
        "Waiting Pulls",
    )
    .await;
    shows(
        &installation,
        &["kv", "get", "a3s_workers", "w1"],
        "\"worker_id\":\"w1\"",
    )
    .await;
    shows(&installation, &["account", "info"], "Streams").await;
    shows(&installation, &["micro", "ls"], "a3s-worker").await;
    let events = nats(&installation, &["sub", "a3s.*.event.>"]);
    let intruder = Intruder(installation.connection("observer").await);
    // Until the subscription is there tasks tell nobody; a task a time costs little.
    while !events.stdout().contains("queue.command.completed") {
        installation
            .done("coordinator", &["submit", "ls", "{}", "--session", "demo"])
            .await;
    }

    intruder
        .asks_in_vain(&[
            "a3s.demo.query",
            "a3s.demo.result.t",
            "a3s.demo.cancel.t",
            "a3s.demo.event.queue.alert",
            "$KV.a3s_workers.w1",
            "$KV.a3s_sessions.demo",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-query",
            "$JS.ACK.A3S_TASKS.pool-default-query.1.1.1.1.0",
            "$JS.API.CONSUMER.CREATE.A3S_TASKS.mine.a3s.*.query",
            "$JS.API.CONSUMER.CREATE.A3S_RESULTS",
            "$JS.API.CONSUMER.DELETE.A3S_TASKS.pool-default-query",
            "$JS.API.CONSUMER.PAUSE.A3S_TASKS.pool-default-query",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.demo.result.t",
            "$JS.API.STREAM.MSG.GET.A3S_RESULTS",
            "$JS.API.STREAM.MSG.DELETE.A3S_TASKS",
            "$JS.API.STREAM.PURGE.A3S_TASKS",
            "$JS.API.STREAM.DELETE.A3S_TASKS",
            "$JS.API.STREAM.UPDATE.A3S_TASKS",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.ACCOUNT.PURGE.A3S",
        ])
        .await;
    intruder
        .listens_in_vain(&[
            ">",
            "a3s.>",
            "a3s.*.result.*",
            "a3s.*.done.*",
            "a3s.*.output.*",
            "_INBOX.>",
        ])
        .await;
}
