//! A worker with a trust list runs what is signed by a key that may ask for it, and nothing else,
//! and what it answers is signed.

#[path = "support/mod.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use a3s_shared::broker::{Broker, Outgoing, Replays, Signatures};
use a3s_shared::protocol::signature::{
    BodyDigest, Role, SignedTask, SigningKey, TrustList, is_signed_by,
};
use a3s_shared::protocol::{ErrorKind, Outcome, Presence, SessionLane, TaskResult, clock, headers};
use a3s_testkit::{Process, eventually};
use async_nats::jetstream::stream::Config;
use serde_json::json;

use support::{BOUND, Job, Rig, shell};

const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const OTHER_SEED: &str = "SUAPNIC3Y35PKET6UN4NX7CM65LF6E7ZZIHS2FZSMRDAADHVXTPWXTWKX4";

/// More than a message holds.
const LARGE: usize = 600_000;

fn key(seed: &str) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_text(seed).expect("a seed"))
}

/// A rig whose tasks are signed with `SEED`, and a worker that trusts that key by `rules` and signs
/// with `OTHER_SEED`.
async fn trusting(rules: &str, arguments: &[&str]) -> (Rig, Process) {
    let mut rig = Rig::start().await;
    rig.broker = signing(&rig.broker, SEED);
    let worker = worker(&rig, "w", rules, arguments).await;
    (rig, worker)
}

fn signing(broker: &Broker, seed: &str) -> Broker {
    broker.clone().with_signatures(Signatures {
        key: Some(key(seed)),
        trust: None,
    })
}

async fn worker(rig: &Rig, id: &str, rules: &str, arguments: &[&str]) -> Process {
    let list = format!(
        "[[key]]\nkey = \"{}\"\nname = \"ci\"\n{rules}\n",
        key(SEED).id()
    );
    let (trust, seed) = (file(rig, "trust.toml", &list), file(rig, "key", OTHER_SEED));
    let mut all = vec!["--trust", &trust, "--signing-key", &seed];
    all.extend(arguments);
    rig.ready_worker(id, &all).await
}

/// A file that only its owner can read.
fn file(rig: &Rig, name: &str, text: &str) -> String {
    let path: PathBuf = rig.workspace().join(name);
    std::fs::write(&path, text).expect("a file");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    path.display().to_string()
}

/// The refusal must name the rule.
fn assert_refused(result: &TaskResult, rule: &str) {
    assert_eq!(result.error_kind, Some(ErrorKind::Refused), "{result:?}");
    assert_eq!(result.outcome(), Outcome::Failed);
    let error = result.error.as_deref().unwrap_or_default();
    assert!(error.contains(rule), "{error:?} does not say {rule:?}");
}

#[tokio::test]
async fn what_a_trusted_key_signed_is_run_and_the_answer_is_signed() {
    let (rig, _worker) = trusting("", &[]).await;
    let small = rig.submit(shell(SessionLane::Query, "echo small")).await;
    assert_eq!(rig.result(&small).await.result["stdout"], "small\n");
    // Its input and its result are in the object store.
    let text = "x".repeat(LARGE);
    let large = rig
        .submit(Job {
            lane: SessionLane::Execute,
            command: "write",
            payload: json!({ "path": "large.txt", "content": text }),
            ..Job::default()
        })
        .await;
    assert!(rig.result(&large).await.success);
    assert_eq!(rig.file("large.txt").len(), LARGE);
    rig.nothing_is_left().await;

    let list = format!(
        "[[key]]\nkey = \"{}\"\nrole = \"worker\"",
        key(OTHER_SEED).id()
    );
    let believing = rig.broker.clone().with_signatures(Signatures {
        key: Some(key(SEED)),
        trust: Some(Arc::new(
            TrustList::parse(&list, Role::Worker).expect("a list"),
        )),
    });
    for id in [small, large] {
        let answer = believing.answer("s", &id).await.expect("an answer");
        let answer = answer.expect("a result");
        assert!(!answer.refused, "{answer:?}");
        assert!(answer.answers.is_some(), "it names the task's message");
    }
    assert_eq!(believing.refused_results(), 0);
}

#[tokio::test]
async fn what_is_unsigned_or_signed_by_a_stranger_is_refused_and_counted() {
    let (mut rig, _worker) = trusting("", &[]).await;
    let strangers = signing(&rig.broker, OTHER_SEED);
    let plain = rig.broker.clone().with_signatures(Signatures::default());
    let touch = || shell(SessionLane::Execute, "echo ran >> ran");
    let rules = [
        (plain, "it is not signed"),
        (strangers, "is not trusted as a coordinator"),
    ];
    for (broker, rule) in rules {
        rig.broker = broker;
        let id = rig.submit(touch()).await;
        let result = rig.result(&id).await;
        assert_refused(&result, rule);
        assert_eq!(result.attempt, 0, "it was not started");
    }
    let stranger = rig.submit(shell(SessionLane::Query, "true")).await;
    let error = rig.result(&stranger).await.error.unwrap_or_default();
    assert!(error.contains(key(OTHER_SEED).id()), "{error}");
    assert_eq!(rig.file("ran"), "");
    rig.nothing_is_left().await;
    assert_eq!(heartbeat(&rig, "w").await.refused, 3);
}

async fn heartbeat(rig: &Rig, id: &str) -> Presence {
    let subject = rig.broker.names().worker_endpoint(id);
    let answer = rig.broker.client().request(subject, "".into()).await;
    serde_json::from_slice(&answer.expect("the worker answers").payload).expect("a heartbeat")
}

#[tokio::test]
async fn a_key_may_ask_for_its_sessions_lanes_and_tools_only() {
    let rules = "sessions = [\"s\", \"ci-*\"]\nlanes = [\"query\"]\ntools = [\"bash\", \"re*\"]";
    let (rig, _worker) = trusting(rules, &[]).await;
    let on = |session, lane, command| Job {
        session,
        lane,
        command,
        payload: json!({ "command": "true", "path": "trust.toml" }),
        ..Job::default()
    };
    let (query, execute) = (SessionLane::Query, SessionLane::Execute);
    let refused = [
        (on("other", query, "bash"), "session other"),
        (on("s", execute, "bash"), "lane Execute"),
        (on("ci-1", query, "ls"), "tool \"ls\""),
    ];
    for (job, rule) in refused {
        let session = job.session;
        let id = rig.submit(job).await;
        let result = rig.result_of(session, &id).await;
        assert_refused(&result, rule);
        assert_refused(&result, "(ci)");
    }
    for job in [on("s", query, "bash"), on("ci-1", query, "read")] {
        let session = job.session;
        let id = rig.submit(job).await;
        assert!(rig.result_of(session, &id).await.success);
    }
}

/// A task's message, signed, that can be altered before it is published.
#[derive(Clone)]
struct Signed {
    id: String,
    outgoing: Outgoing,
}

impl Signed {
    /// A command on the lane Query of session `s`, in pool `default`.
    fn new(id: &str, command: &str, timeout_ms: u64, deadline_ms: u64) -> Self {
        let body = json!({
            "task_id": id, "command_type": "bash", "timeout_ms": timeout_ms,
            "payload": { "command": command },
        })
        .to_string();
        let subject = "a3s.s.query".to_owned();
        let said = vec![
            (headers::MESSAGE_ID, format!("s.{id}")),
            (headers::REPLY_TO, format!("a3s.s.result.{id}")),
            (headers::DEADLINE, deadline_ms.to_string()),
            (headers::MAX_ATTEMPTS, "2".to_owned()),
            (headers::RETRY_DELAY, "fixed:100".to_owned()),
            (headers::EFFECT, "idempotent".to_owned()),
            (headers::CONTENT_TYPE, "application/json".to_owned()),
        ];
        let digest = BodyDigest::of(body.as_bytes());
        let form = SignedTask::new(&subject, "s", id, SessionLane::Query, "bash", digest);
        let get = |name: &str| {
            let found = said.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.as_str())
        };
        let form = SignedTask::with_headers(get, form);
        let signature = key(SEED).sign(&form.canonical());
        assert!(is_signed_by(key(SEED).id(), &form.canonical(), &signature));
        let mut headers = said.clone();
        headers.push((headers::KEY, key(SEED).id().to_owned()));
        headers.push((headers::SIGNATURE, signature));
        Self {
            id: id.to_owned(),
            outgoing: Outgoing {
                subject,
                headers,
                body: body.into(),
                ..Outgoing::default()
            },
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.outgoing.headers.retain(|(n, _)| *n != name);
        self.outgoing.headers.push((name, value.to_owned()));
        self
    }

    fn on(mut self, subject: &str) -> Self {
        self.outgoing.subject = subject.to_owned();
        self
    }
}

#[tokio::test]
async fn nothing_of_a_signed_message_can_be_altered() {
    let (rig, _worker) = trusting("", &[]).await;
    let later = (clock::now_ms() + 600_000).to_string();
    let signed = |id: &str| {
        let deadline = clock::now_ms() + 60_000;
        Signed::new(id, "echo ran >> ran", 60_000, deadline)
    };
    let evil = |id: &str| {
        let payload = json!({ "command": "echo evil >> ran" });
        json!({ "task_id": id, "command_type": "bash", "payload": payload }).to_string()
    };
    let mut payload = signed("payload");
    payload.outgoing.body = evil("payload").into();
    let swapped = rig.broker.put_blob(evil("blob"), "blob").await;
    let swapped = swapped.expect("it is stored");
    let altered = [
        payload,
        signed("subject").on("a3s.s.execute"),
        signed("deadline").with(headers::DEADLINE, &later),
        signed("message").with(headers::MESSAGE_ID, "s.another"),
        signed("reply").with(headers::REPLY_TO, "a3s.s.result.other"),
        signed("effect").with(headers::EFFECT, "once"),
        signed("attempts").with(headers::MAX_ATTEMPTS, "9"),
        signed("delay").with(headers::RETRY_DELAY, "fixed:1"),
        signed("workspace").with(headers::WORKSPACE, "sha256-00"),
        signed("blob").with(headers::BLOB, &swapped),
    ];
    for message in altered {
        rig.broker
            .publish(&message.outgoing)
            .await
            .expect("it is stored");
        assert_refused(&rig.result(&message.id).await, "it was altered");
    }
    assert_eq!(rig.file("ran"), "");
    let whole = signed("whole");
    rig.broker.publish(&whole.outgoing).await.expect("stored");
    assert!(rig.result("whole").await.success);
    assert_eq!(rig.file("ran"), "ran\n");
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_copy_of_a_task_that_was_answered_is_not_run_again() {
    let (rig, _worker) = trusting("", &[]).await;
    shorten_the_duplicate_window(&rig).await;
    // Submitted a while ago, as a copy that the broker stores is.
    let deadline = clock::now_ms() + 60_000;
    let task = Signed::new("t", "echo ran >> ran", 100_000, deadline);
    rig.broker.publish(&task.outgoing).await.expect("stored");
    let first = rig.result("t").await;
    eventually("the copy is stored", BOUND, async || {
        let ack = rig.broker.publish(&task.outgoing).await;
        let ack = ack.map_err(|e| e.to_string())?;
        (!ack.duplicate)
            .then_some(())
            .ok_or("a duplicate".to_owned())
    })
    .await;
    rig.nothing_is_left().await;
    assert_eq!(rig.file("ran"), "ran\n");
    assert_eq!(rig.result("t").await, first);

    let late = Signed::new("late", "echo late >> ran", 100_000, clock::now_ms() - 1);
    rig.broker.publish(&late.outgoing).await.expect("stored");
    let result = rig.result("late").await;
    assert_eq!(result.outcome(), Outcome::TimedOut, "{result:?}");
}

async fn shorten_the_duplicate_window(rig: &Rig) {
    let mut stream = rig
        .broker
        .jetstream()
        .get_stream("A3S_TASKS")
        .await
        .expect("there");
    let config = stream.info().await.expect("its state").config.clone();
    let shorter = Config {
        duplicate_window: std::time::Duration::from_millis(100),
        ..config
    };
    let updated = rig.broker.jetstream().update_stream(shorter).await;
    updated.expect("it is updated");
}

#[tokio::test]
async fn a_dead_letter_is_signed_anew_only_if_it_was_signed_before() {
    let mut rig = Rig::start().await;
    rig.broker = signing(&rig.broker, SEED);
    let again = rig.script(
        "reject.sh",
        "cat > /dev/null; test -e ready && echo '{}' || exit 75",
    );
    let _worker = worker(&rig, "w", "", &["--tool", &format!("again={again}")]).await;
    let job = Job {
        lane: SessionLane::Execute,
        command: "again",
        ..Job::default()
    };
    let id = rig.submit(job).await;
    assert_eq!(rig.result(&id).await.outcome(), Outcome::DeadLettered);
    rig.nothing_is_left().await;
    let letters = rig.broker.dead_letters(Some("s")).await.expect("letters");
    let [letter] = letters.as_slice() else {
        panic!("one letter: {letters:?}")
    };

    let mut planted = letter.clone();
    planted
        .headers
        .retain(|(name, _)| name != headers::SIGNATURE);
    let error = Replays::new(&rig.broker)
        .replay(&planted)
        .await
        .expect_err("not signed");
    assert!(error.to_string().contains("it is not signed"), "{error}");
    let mut altered = letter.clone();
    altered.subject = "a3s.s.query".to_owned();
    let error = Replays::new(&rig.broker)
        .replay(&altered)
        .await
        .expect_err("altered");
    assert!(error.to_string().contains("it was altered"), "{error}");
    assert!(
        rig.broker.has_result("s", &id).await.expect("an answer"),
        "nothing was changed"
    );

    std::fs::write(rig.workspace().join("ready"), "").expect("a file");
    let replayed = Replays::new(&rig.broker).replay(letter).await;
    replayed.expect("it is replayed");
    let result = rig.result(&id).await;
    assert!(result.success, "{result:?}");
}

#[tokio::test]
async fn a_worker_does_not_start_with_files_that_it_cannot_use() {
    let rig = Rig::start().await;
    let open = file(&rig, "open", OTHER_SEED);
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&open, readable).expect("its mode");
    let typo = format!("[[key]]\nkey = \"{}\"\ntool = []", key(SEED).id());
    let typo = file(&rig, "typo.toml", &typo);
    let empty = file(&rig, "empty.toml", "");
    let cases = [
        (["--signing-key", open.as_str()], "chmod 600"),
        (["--trust", typo.as_str()], "unknown field `tool`"),
        (["--trust", empty.as_str()], "nothing would be accepted"),
        (
            ["--trust", "/nowhere/trust.toml"],
            "cannot read /nowhere/trust.toml",
        ),
    ];
    for (arguments, text) in cases {
        let mut worker = rig.worker("w", &arguments);
        let status = worker.wait(BOUND).await;
        assert_eq!(status.code(), Some(2), "{arguments:?}");
        assert!(worker.stderr().contains(text), "{}", worker.stderr());
    }
}
