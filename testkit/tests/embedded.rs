//! The embedded server against the real nats-server: it is never an orphan, never shared by
//! two stores' owners, and loses nothing over a restart.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use a3s_shared::runtime::connect::ConnectError;
use a3s_shared::runtime::embedded::Embedded;
use a3s_shared::runtime::{ConnectOptions, Connection, Origin, Role, connect, env_lines};
use a3s_testkit::{Process, eventually};
use async_nats::jetstream::stream::Config;
use tempfile::TempDir;

/// Far more than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// Where [`host`] keeps its store; also what makes it run.
const HOST_DIR: &str = "EMBEDDED_HOST_DIR";

fn store() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

async fn coordinator(dir: &Path) -> Connection {
    let options = ConnectOptions::embedded_in(dir);
    let connection = connect(&options, &Role::coordinator("test")).await;
    connection.unwrap_or_else(|error| panic!("{error}"))
}

/// Not a test: the process that the next test kills.
#[tokio::test]
#[ignore = "run by a_killed_coordinator_leaves_no_server_behind, as a process of its own"]
async fn host() {
    let Ok(dir) = std::env::var(HOST_DIR) else {
        return;
    };
    let _connection = coordinator(dir.as_ref()).await;
    println!("ready");
    std::future::pending::<()>().await;
}

/// Whether a process runs. One that has ended and was not reaped yet does not.
fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .trim_start()
        .chars()
        .next();
    !matches!(state, None | Some('Z' | 'X'))
}

#[tokio::test]
async fn a_killed_coordinator_leaves_no_server_behind() {
    let dir = store();
    let test = std::env::current_exe().expect("a test knows its path");
    let mut host = Process::at(test)
        .args(["--exact", "host", "--ignored", "--nocapture"])
        .env(HOST_DIR, dir.path())
        .start();
    host.wait_for("ready", SOON).await;
    let state = std::fs::read(dir.path().join("embedded.json")).expect("it describes its server");
    let state: serde_json::Value = serde_json::from_slice(&state).expect("it is JSON");
    let pid = state["pid"].as_u64().expect("with a process id");
    assert!(runs(pid));

    host.kill();

    eventually("the end of the server", SOON, || {
        std::future::ready((!runs(pid)).then_some(()).ok_or("it still runs"))
    })
    .await;
    assert!(
        Embedded::join(dir.path()).await.is_none(),
        "a dead server is not joined"
    );
    let next = coordinator(dir.path()).await;
    assert_eq!(
        next.server.origin,
        Origin::Embedded,
        "the store is free for the next one"
    );
    next.close().await;
}

#[tokio::test]
async fn a_restart_keeps_messages_port_and_credential() {
    let dir = store();
    let first = coordinator(dir.path()).await;
    let before = env_lines(&first);
    let config = Config {
        name: "KEEP".into(),
        subjects: vec!["keep".into()],
        ..Config::default()
    };
    let jetstream = first.jetstream();
    jetstream.create_stream(config).await.expect("a stream");
    let stored = jetstream
        .publish("keep", "this".into())
        .await
        .expect("it is sent");
    stored.await.expect("it is stored");
    first.close().await;

    let second = coordinator(dir.path()).await;
    assert_eq!(
        env_lines(&second),
        before,
        "workers that stayed find the next server"
    );
    let stream = second
        .jetstream()
        .get_stream("KEEP")
        .await
        .expect("the stream is there");
    let message = stream
        .get_raw_message(1)
        .await
        .expect("the message is there");
    assert_eq!(message.payload, "this");
    second.close().await;
}

#[tokio::test]
async fn two_coordinators_that_start_at_once_share_one_server() {
    let dir = store();
    let (one, other) = tokio::join!(
        Embedded::start_or_join(dir.path()),
        Embedded::start_or_join(dir.path())
    );
    let (one, other) = (one.expect("a server"), other.expect("a server"));
    assert_eq!(one.url(), other.url());
    assert!(
        one.is_ours() ^ other.is_ours(),
        "exactly one of them owns it"
    );
}

#[tokio::test]
async fn a_worker_joins_a_living_server_and_starts_none() {
    let dir = store();
    let options = ConnectOptions::embedded_in(dir.path());
    let worker = Role::worker("w1");
    let nobody = connect(&options, &worker)
        .await
        .expect_err("nothing runs there");
    assert!(
        nobody.to_string().contains("a3s-coordinator serve"),
        "{nobody}"
    );

    let coordinator = coordinator(dir.path()).await;
    let joined = connect(&options, &worker)
        .await
        .expect("the server is found");
    assert_eq!(joined.server.origin, Origin::Joined);
    assert_eq!(joined.server.url, coordinator.server.url);
}

#[tokio::test]
async fn only_who_knows_the_credential_gets_in_and_only_the_owner_can_read_it() {
    let dir = store();
    let coordinator = coordinator(dir.path()).await;
    let stranger = ConnectOptions::to(&coordinator.server.url);
    let refused = connect(&stranger, &Role::worker("stranger"))
        .await
        .expect_err("no credential");
    assert!(
        matches!(refused, ConnectError::Unauthorized { .. }),
        "{refused}"
    );
    for file in ["embedded.json", "nats-server.conf", "lock"] {
        let metadata = std::fs::metadata(dir.path().join(file)).expect(file);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{file}");
    }
}

async fn expect_connected(connection: &Connection) {
    eventually("a connection", SOON, || async {
        // A request that was sent into the old connection is lost, and would be waited for.
        let answer = connection.client.request("$JS.API.INFO", "".into());
        let answer = tokio::time::timeout(Duration::from_millis(500), answer).await;
        answer
            .map_err(|_| "no answer".to_owned())?
            .map(drop)
            .map_err(|error| error.to_string())
    })
    .await;
}

#[tokio::test]
async fn who_joined_takes_the_server_over_when_its_owner_ends() {
    let dir = store();
    let owner = coordinator(dir.path()).await;
    let heir = coordinator(dir.path()).await;
    let other = coordinator(dir.path()).await;
    assert_eq!(heir.server.origin, Origin::Joined);
    let config = Config {
        name: "KEEP".into(),
        ..Config::default()
    };
    owner
        .jetstream()
        .create_stream(config)
        .await
        .expect("a stream");

    owner.close().await;

    expect_connected(&heir).await;
    expect_connected(&other).await;
    heir.jetstream()
        .get_stream("KEEP")
        .await
        .expect("the store is the same");
}

#[tokio::test]
async fn a_server_that_crashed_is_started_again() {
    let dir = store();
    let coordinator = coordinator(dir.path()).await;
    let state = std::fs::read(dir.path().join("embedded.json")).expect("it describes its server");
    let state: serde_json::Value = serde_json::from_slice(&state).expect("it is JSON");
    let pid = state["pid"]
        .as_i64()
        .and_then(|pid| i32::try_from(pid).ok());
    let pid = pid
        .and_then(rustix::process::Pid::from_raw)
        .expect("with a process id");
    let mut events = coordinator.events();

    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");

    while events.recv().await.expect("the connection lives") != async_nats::Event::Connected {}
    expect_connected(&coordinator).await;
}

#[tokio::test]
async fn the_nats_cli_joins_by_the_printed_environment() {
    let dir = store();
    let coordinator = coordinator(dir.path()).await;
    let version = std::process::Command::new("nats").arg("--version").output();
    if version.is_err() {
        eprintln!("SKIPPED: the nats CLI is not installed");
        return;
    }
    let mut cli = Process::at("nats").args(["rtt", "--json"]);
    for (name, value) in env_lines(&coordinator) {
        cli = cli.env(name, value);
    }
    let mut cli = cli.start();
    let status = cli.wait(SOON).await;
    assert!(status.success(), "{status}");
}
