//! A coordinator that knows its workers' keys believes no other result: its caller is told so, at
//! once, and never gets the forged value. Real workers; the forgers are played here.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use a3s_coordinator::{Coordinator, Error, Session, SessionQueueConfig, Task, TaskHandle};
use a3s_shared::broker::{Broker, Outgoing, Settings, Signatures, Stored, StoredTask, TaskStream};
use a3s_shared::protocol::signature::{Role, SigningKey, TrustList};
use a3s_shared::protocol::{
    Encoding, ErrorKind, EventKind, Outcome, SessionLane, TaskResult, Token, clock, headers,
};
use a3s_shared::runtime::signing::read_key;
use a3s_shared::runtime::{ConnectOptions, Role as ProcessRole, connect};
use a3s_testkit::{Process, Server, eventually};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use support::{SOON, events_until};

const OURS: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const WORKERS: &str = "SUAPNIC3Y35PKET6UN4NX7CM65LF6E7ZZIHS2FZSMRDAADHVXTPWXTWKX4";
const FORGERS: &str = "SUAKH3B4EBL3LP5CYLYYCRCNKA5JT7NLHWR7XJ377VBP74YW2POU574BR4";

/// More than a message holds.
const LARGE: usize = 600_000;

fn key(seed: &str) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_text(seed).expect("a seed"))
}

/// Signs, and believes whom the list names.
fn signatures() -> Signatures {
    let list = format!(
        "[[key]]\nkey = \"{}\"\nname = \"fleet\"\nrole = \"worker\"",
        key(WORKERS).id()
    );
    let list = TrustList::parse(&list, Role::Worker).expect("a trust list");
    Signatures {
        key: Some(key(OURS)),
        trust: Some(Arc::new(list)),
    }
}

async fn start(server: &Server, signatures: Signatures) -> Result<Coordinator, Error> {
    let options = ConnectOptions::to(server.url());
    let connection = connect(&options, &ProcessRole::coordinator("test")).await;
    let connection = connection.expect("the server");
    Coordinator::start_signed(connection, Settings::default(), signatures).await
}

/// A server, a coordinator that believes the workers' key alone, and a session of it.
struct Stage {
    server: Server,
    coordinator: Coordinator,
    session: Session,
    dir: TempDir,
}

impl Stage {
    async fn start() -> Self {
        let server = Server::start().await;
        let coordinator = start(&server, signatures()).await.expect("a coordinator");
        let config = SessionQueueConfig::default()
            .with_external_lanes()
            .with_metrics();
        let session = coordinator.session("s").config(config).open().await;
        Self {
            session: session.expect("a session"),
            server,
            coordinator,
            dir: TempDir::new().expect("a directory"),
        }
    }

    /// A worker process that trusts our key and signs with `seed`.
    async fn worker(&self, seed: &str) -> Process {
        let list = format!("[[key]]\nkey = \"{}\"", key(OURS).id());
        let trust = self.file("trust.toml", &list);
        let mut process = Process::of("a3s-worker")
            .args(["--nats-url", self.server.url(), "--trust", &trust])
            .arg("--workspace")
            .arg(self.dir.path())
            // Whoever runs the tests may have a key in its place.
            .env("XDG_CONFIG_HOME", self.dir.path());
        if !seed.is_empty() {
            process = process.args(["--signing-key", &self.file("worker.nk", seed)]);
        }
        let process = process.start();
        process.wait_for("ready for tasks", SOON).await;
        process
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("its mode");
        path.display().to_string()
    }

    async fn submit(&self, command: &str) -> TaskHandle {
        let task = Task::new("bash", json!({ "command": command }));
        let handle = self.session.submit(SessionLane::Query, task).await;
        handle.expect("taken")
    }

    /// The task's message, as soon as the broker has it.
    async fn stored(&self, id: &str) -> StoredTask {
        let broker = self.coordinator.broker();
        let stream = broker.names().tasks(TaskStream::Pool);
        eventually("the task is published", SOON, async || {
            let messages = broker
                .scan(&stream, ">", 1)
                .await
                .map_err(|e| e.to_string())?;
            let mut tasks = messages
                .into_iter()
                .filter_map(|message| StoredTask::read(broker, &stream, message));
            let found = tasks.find(|task| task.fallback_id(broker) == id);
            found.ok_or_else(|| "not yet".to_owned())
        })
        .await
    }

    /// How many results were not believed, as the session counts it.
    async fn refused(&self) -> u64 {
        let metrics = self.session.queue_metrics().await.expect("metrics are on");
        metrics.counters["lane.results.refused"]
    }

    /// A broker of somebody who signs with `seed`.
    fn somebody(&self, seed: &str) -> Broker {
        let broker = self.coordinator.broker().clone();
        broker.with_signatures(Signatures {
            key: (!seed.is_empty()).then(|| key(seed)),
            trust: None,
        })
    }
}

/// What a forger would like to be believed.
fn forged(id: &str) -> TaskResult {
    TaskResult {
        task_id: id.to_owned(),
        session_id: "s".to_owned(),
        lane: SessionLane::Query,
        command_type: "bash".to_owned(),
        success: true,
        result: json!({ "stdout": "forged" }),
        error: None,
        error_kind: None,
        attempt: 1,
        worker_id: "w".to_owned(),
        started_at_ms: clock::now_ms(),
        duration_ms: 1,
    }
}

async fn outcome(handle: TaskHandle) -> TaskResult {
    let result = timeout(SOON, handle).await.expect("nothing hangs");
    result.expect("a result")
}

fn assert_disbelieved(result: &TaskResult, rule: &str) {
    assert_eq!(result.error_kind, Some(ErrorKind::Unknown), "{result:?}");
    assert!(!result.success);
    assert_eq!(result.result, json!({}));
    let error = result.error.as_deref().unwrap_or_default();
    assert!(error.contains(rule), "{error:?} does not say {rule:?}");
}

#[tokio::test]
async fn a_worker_s_signed_result_is_believed() {
    let stage = Stage::start().await;
    let _worker = stage.worker(WORKERS).await;
    let small = outcome(stage.submit("echo small").await).await;
    assert_eq!(small.result["stdout"], "small\n");
    let text = "x".repeat(LARGE);
    let task = Task::new("write", json!({ "path": "large.txt", "content": text }));
    let large = stage.session.submit(SessionLane::Execute, task).await;
    assert!(outcome(large.expect("taken")).await.success);
    let read = Task::new("read", json!({ "path": "large.txt" }));
    let read = stage.session.submit(SessionLane::Query, read).await;
    assert!(outcome(read.expect("taken")).await.success);
    assert_eq!(stage.refused().await, 0);
    assert_eq!(stage.coordinator.broker().refused_results(), 0);
}

#[tokio::test]
async fn a_forged_result_that_was_stored_first_is_never_the_answer() {
    let stage = Stage::start().await;
    let mut events = stage.session.subscribe().await;
    let seeds = [
        ("", "it is not signed"),
        (FORGERS, "is not trusted as a worker"),
    ];
    for (seed, rule) in seeds {
        let handle = stage.submit("echo honest").await;
        let id = handle.task_id().to_owned();
        let task = stage.stored(&id).await;
        let stored = stage
            .somebody(seed)
            .publish_answer(&forged(&id), Encoding::Json, task.signature())
            .await;
        assert_eq!(stored.expect("confirmed"), Stored::First);
        let result = outcome(handle).await;
        assert_disbelieved(&result, rule);
        let told = events_until(&mut events, EventKind::Failed).await;
        let told = told.last().and_then(|event| event.error.clone());
        assert!(told.is_some_and(|error| error.contains(rule)));
        // The honest worker's own comes second, and changes nothing.
        let later = stage.session.result(&id).await.expect("an answer");
        assert_disbelieved(&later.expect("a result"), rule);
    }
    assert_eq!(stage.refused().await, 2);
    let _worker = stage.worker(WORKERS).await;
    let next = outcome(stage.submit("echo next").await).await;
    assert_eq!(next.result["stdout"], "next\n");
}

#[tokio::test]
async fn a_worker_without_a_trusted_key_is_not_believed() {
    for (seed, rule) in [
        ("", "it is not signed"),
        (FORGERS, "is not trusted as a worker"),
    ] {
        let stage = Stage::start().await;
        let _worker = stage.worker(seed).await;
        let result = outcome(stage.submit("echo well meant").await).await;
        assert_disbelieved(&result, rule);
    }
}

#[tokio::test]
async fn a_result_of_another_task_or_of_another_time_is_not_believed() {
    let stage = Stage::start().await;
    let worker = stage.worker(WORKERS).await;
    let honest = stage.submit("echo honest").await;
    let honest_id = honest.task_id().to_owned();
    assert!(outcome(honest).await.success);
    drop(worker);
    let broker = stage.coordinator.broker();
    let names = broker.names();

    // The same bytes on the subject of another task.
    let victim = stage.submit("echo victim").await;
    stage.stored(victim.task_id()).await;
    let old = broker
        .last(&names.results(), &names.result("s", &honest_id))
        .await;
    let old = old.expect("an answer").expect("the result");
    let kept = [
        headers::CONTENT_TYPE,
        headers::KEY,
        headers::SIGNATURE,
        headers::ANSWERS,
    ];
    let copied = kept.map(|name| (name, old.header(name).unwrap_or_default().to_owned()));
    let replayed = Outgoing {
        subject: names.result("s", victim.task_id()),
        headers: copied.to_vec(),
        body: old.body.clone(),
        ..Outgoing::default()
    };
    broker.publish(&replayed).await.expect("stored");
    let result = outcome(victim).await;
    assert_disbelieved(&result, &format!("it is the result of task {honest_id}"));

    // With its task's id written over.
    let victim = stage.submit("echo victim").await;
    stage.stored(victim.task_id()).await;
    let text = String::from_utf8_lossy(&old.body).into_owned();
    let replayed = Outgoing {
        subject: names.result("s", victim.task_id()),
        body: match old.body.starts_with(b"{") {
            true => text.replace(&honest_id, victim.task_id()).into(),
            false => replaced(&old.body, &honest_id, victim.task_id()),
        },
        ..replayed
    };
    broker.publish(&replayed).await.expect("stored");
    assert_disbelieved(&outcome(victim).await, "it was altered");

    // Signed by a worker, for an earlier task of this id.
    let victim = stage.submit("echo victim").await;
    stage.stored(victim.task_id()).await;
    let earlier = stage
        .somebody(WORKERS)
        .publish_answer(
            &forged(victim.task_id()),
            Encoding::Json,
            old.header(headers::ANSWERS),
        )
        .await;
    assert_eq!(earlier.expect("confirmed"), Stored::First);
    assert_disbelieved(&outcome(victim).await, "an earlier one of this id");
    assert_eq!(stage.refused().await, 3);
}

/// `text` instead of `old`, which is as long, in bytes of another encoding.
fn replaced(bytes: &[u8], old: &str, text: &str) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    let at = bytes
        .windows(old.len())
        .position(|part| part == old.as_bytes());
    let at = at.expect("it is there");
    bytes[at..at + old.len()].copy_from_slice(text.as_bytes());
    bytes.into()
}

#[tokio::test]
async fn what_is_no_result_ends_the_wait_too() {
    let stage = Stage::start().await;
    let handle = stage.submit("echo honest").await;
    let broker = stage.coordinator.broker();
    let nonsense = Outgoing {
        subject: broker.names().result("s", handle.task_id()),
        body: "nonsense".into(),
        ..Outgoing::default()
    };
    broker.publish(&nonsense).await.expect("stored");
    assert_disbelieved(&outcome(handle).await, "it is no result");
}

#[tokio::test]
async fn a_coordinator_s_own_answers_are_believed_by_others_unless_they_claim_success() {
    let stage = Stage::start().await;
    let task = Task::new("bash", json!({ "command": "true" })).timeout_ms(300);
    let handle = stage
        .session
        .submit(SessionLane::Query, task)
        .await
        .expect("taken");
    let id = handle.task_id().to_owned();
    assert_eq!(outcome(handle).await.outcome(), Outcome::TimedOut);
    let other = start(&stage.server, signatures())
        .await
        .expect("a coordinator");
    let seen = other.broker().result("s", &id).await.expect("an answer");
    assert_eq!(seen.expect("a result").outcome(), Outcome::TimedOut);

    let id = Token::unique().to_string();
    let stored = stage
        .somebody(OURS)
        .publish_answer(&forged(&id), Encoding::Json, None)
        .await;
    assert_eq!(stored.expect("confirmed"), Stored::First);
    let seen = other.broker().result("s", &id).await.expect("an answer");
    assert_disbelieved(&seen.expect("a result"), "only a worker can say");
}

#[tokio::test]
async fn results_are_not_checked_by_who_cannot_sign() {
    let server = Server::start().await;
    let signatures = Signatures {
        key: None,
        ..signatures()
    };
    let error = start(&server, signatures).await.expect_err("no key");
    assert!(error.to_string().contains("--signing-key"), "{error}");
}

#[tokio::test]
async fn the_keys_that_init_makes_can_sign() {
    let dir = TempDir::new().expect("a directory");
    let made = dir.path().join("fleet");
    let mut init = Process::of("a3s-coordinator")
        .arg("init")
        .arg(&made)
        .start();
    let status = init.wait(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", init.stderr());
    let path = made.join("keys/coordinator.nk");
    let key = read_key(&path).expect("a key");
    let text = std::fs::read_to_string(&path).expect("its text");
    assert!(text.contains(&format!("# public: {}", key.id())));
}

#[tokio::test]
async fn the_command_line_signs_and_believes_as_it_is_told() {
    let stage = Stage::start().await;
    let _worker = stage.worker(WORKERS).await;
    let list = format!(
        "[[key]]\nkey = \"{}\"\nrole = \"worker\"",
        key(WORKERS).id()
    );
    let (ours, workers) = (
        stage.file("ours.nk", OURS),
        stage.file("workers.toml", &list),
    );
    let submit = async |arguments: &[&str]| {
        let mut process = Process::of("a3s-coordinator")
            .args(["submit", "--nats-url", stage.server.url(), "bash"])
            .arg(r#"{"command":"echo heard"}"#)
            .args(arguments)
            .env("XDG_CONFIG_HOME", stage.dir.path())
            .start();
        let status = process.wait(SOON * 2).await;
        (status.code(), process.stdout(), process.stderr())
    };
    let signed = submit(&["--signing-key", &ours, "--trust-workers", &workers]).await;
    assert_eq!(signed.0, Some(0), "{signed:?}");
    assert!(signed.1.contains("heard"), "{signed:?}");
    let unsigned = submit(&[]).await;
    assert_eq!(unsigned.0, Some(1), "{unsigned:?}");
    assert!(unsigned.2.contains("it is not signed"), "{unsigned:?}");
    // A key in its place is used without being named.
    std::fs::create_dir(stage.dir.path().join("a3s")).expect("a directory");
    stage.file("a3s/signing.nk", OURS);
    let by_default = submit(&[]).await;
    assert_eq!(by_default.0, Some(0), "{by_default:?}");
    let no_key = submit(&["--signing-key", &workers]).await;
    assert_eq!(no_key.0, Some(2), "{no_key:?}");
}
