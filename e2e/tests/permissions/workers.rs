//! Workers of a pool, of a session, of a lane.

use a3s_shared::broker::{Broker, Outgoing};
use a3s_testkit::eventually;
use futures::StreamExt;
use serde_json::Value;
use tokio::time::timeout;

use crate::BOUND;
use crate::installation::Installation;
use crate::intruder::Intruder;

/// The broker, as the coordinator's key sees it.
async fn broker(installation: &Installation) -> Broker {
    let admin = installation.connection("coordinator").await;
    Broker::new(admin.client, None, "a3s").expect("a valid prefix")
}

/// How many messages a stream holds.
async fn stored(broker: &Broker, stream: &str) -> usize {
    let held = broker.scan(stream, ">", 1).await;
    held.expect("the coordinator may read it").len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_a_pool_does_its_whole_work_with_its_key() {
    let installation = Installation::new(&[]).await.with_streams().await;
    let mut first = installation.worker("worker-pool-default").await;
    let admin = broker(&installation).await;

    // A large body there, and a large one back.
    let lines: String = (0..1_500)
        .map(|n| format!("{n} {}\n", "x".repeat(200)))
        .collect();
    let payload = serde_json::json!({ "path": "large", "content": lines });
    let file = installation.dir().join("payload.json");
    std::fs::write(&file, payload.to_string()).expect("it is written");
    let file = format!("@{}", file.display());
    installation
        .done("coordinator", &["submit", "write", &file])
        .await;
    let read = ["submit", "read", r#"{"path":"large"}"#, "--json"];
    let result: Value =
        serde_json::from_str(&installation.done("coordinator", &read).await).expect("JSON");
    assert_eq!(
        result["result"]["content"], lines,
        "the large body came back"
    );

    // What cannot be read is buried, and whoever waits is told.
    let nonsense = admin
        .client()
        .publish("a3s.demo.query", "nonsense".into())
        .await;
    nonsense.expect("the connection is open");
    eventually("a dead letter", BOUND, async || {
        let letters = admin
            .dead_letters(Some("demo"))
            .await
            .map_err(|e| e.to_string())?;
        (letters.len() == 1)
            .then_some(())
            .ok_or("none yet".to_owned())
    })
    .await;

    // Its heartbeat is seen.
    let workers = installation
        .done("coordinator", &["workers", "--json"])
        .await;
    assert!(workers.contains("\"worker_id\""), "{workers}");

    // What a killed worker had goes to another, which looks for a result and a record first.
    let mut submit = installation
        .process("a3s-coordinator", "coordinator")
        .args([
            "submit",
            "bash",
            r#"{"command":"echo run >> runs; sleep 4; echo done"}"#,
        ])
        .args(["--lane", "query", "--timeout", "100s"])
        .start();
    let runs = installation.workspace().join("runs");
    eventually("the task runs", BOUND, async || {
        runs.exists().then_some(()).ok_or("it does not")
    })
    .await;
    first.kill();
    let second = installation.worker("worker-pool-default").await;
    let status = submit.wait(BOUND).await;
    assert!(status.success(), "{}", submit.stderr());
    let runs = std::fs::read_to_string(runs).expect("it is readable");
    assert_eq!(runs, "run\nrun\n", "the first worker and the second");

    // It was denied nothing on the way.
    for worker in [&first, &second] {
        assert!(!worker.stderr().contains("may not"), "{}", worker.stderr());
    }
    assert_eq!(stored(&admin, "A3S_TASKS").await, 0, "all is settled");
    let bodies = stored_bodies(&admin).await;
    assert_eq!(bodies, 1, "the task's body is gone, the result's is kept");
}

/// How many chunks of large bodies hold something.
async fn stored_bodies(broker: &Broker) -> usize {
    let chunks = broker.scan("OBJ_a3s_blobs", "$O.a3s_blobs.C.*", 1).await;
    let chunks = chunks.expect("the coordinator may read it");
    let mut objects: Vec<&str> = chunks
        .iter()
        .filter(|chunk| !chunk.body.is_empty())
        .map(|chunk| chunk.subject.as_str())
        .collect();
    objects.dedup();
    objects.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_a_pool_can_do_nothing_but_its_work() {
    let installation = Installation::new(&["--pool", "eu"])
        .await
        .with_streams()
        .await;
    let admin = broker(&installation).await;
    // It made its pool's consumers itself.
    drop(installation.worker("worker-pool-eu").await);
    let kept = admin
        .client()
        .publish("a3s.demo.query", "kept".into())
        .await;
    kept.expect("the connection is open");
    eventually("the task is stored", BOUND, async || {
        let count = stored(&admin, "A3S_TASKS").await;
        (count == 1).then_some(()).ok_or(count)
    })
    .await;

    let intruder = Intruder(installation.connection("worker-pool-eu").await);
    intruder
        .asks_in_vain(&[
            // Submit a task, for its own pool or another, or cancel one.
            "a3s.demo.query",
            "a3s.demo.query.eu",
            "a3s.demo.own.query",
            "a3s.demo.cancel.t",
            // Pull what it does not serve.
            "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-query",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_OWN.own-demo-query",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_ADVISORIES.mover",
            "$JS.ACK.A3S_TASKS.pool-default-query.1.1.1.1.0",
            // Read what is not for it.
            "$JS.API.DIRECT.GET.A3S_TASKS",
            "$JS.API.STREAM.MSG.GET.A3S_TASKS",
            "$JS.API.STREAM.MSG.GET.A3S_RESULTS",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.demo.result.t",
            "$JS.API.DIRECT.GET.A3S_RESULTS",
            "$JS.API.DIRECT.GET.A3S_DLQ.a3s.demo.dlq.query.t",
            "$JS.API.DIRECT.GET.KV_a3s_sessions.$KV.a3s_sessions.demo",
            "$JS.API.CONSUMER.CREATE.A3S_TASKS.mine.a3s.*.query",
            "$JS.API.CONSUMER.CREATE.A3S_TASKS.pool-eu-query.a3s.*.query",
            "$JS.API.CONSUMER.CREATE.A3S_RESULTS.mine.a3s.*.result.*",
            "$JS.API.CONSUMER.CREATE.A3S_RESULTS",
            "$JS.API.CONSUMER.DURABLE.CREATE.A3S_TASKS.mine",
            // Delete, purge, or change anything.
            "$JS.API.STREAM.MSG.DELETE.A3S_TASKS",
            "$JS.API.STREAM.PURGE.A3S_TASKS",
            "$JS.API.STREAM.PURGE.A3S_RESULTS",
            "$JS.API.STREAM.PURGE.OBJ_a3s_blobs",
            "$JS.API.STREAM.DELETE.A3S_TASKS",
            "$JS.API.STREAM.UPDATE.A3S_TASKS",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.CONSUMER.DELETE.A3S_TASKS.pool-eu-query",
            "$JS.API.CONSUMER.PAUSE.A3S_TASKS.pool-eu-query",
            "$KV.a3s_sessions.demo",
        ])
        .await;
    intruder
        .listens_in_vain(&[
            ">",
            "a3s.>",
            "a3s.*.result.*",
            "a3s.*.done.*",
            "a3s.*.query",
            "_INBOX.>",
            "_INBOX_coordinator.>",
            "$JS.EVENT.ADVISORY.>",
        ])
        .await;
    assert_eq!(
        stored(&admin, "A3S_TASKS").await,
        1,
        "nothing came and nothing went"
    );
    // The other side: what it needs passes.
    let pull = r#"{"batch":1,"no_wait":true}"#;
    let own = "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-eu-query";
    assert!(
        intruder.may_ask(own, pull).await,
        "it may pull its own lane"
    );
    assert!(
        intruder.may_hear("_INBOX_worker-pool-eu.>").await,
        "its own inbox"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_a_session_and_a_lane_serves_these_alone() {
    let options = [
        "--session",
        "alice",
        "--session",
        "bob",
        "--lanes",
        "query,execute",
    ];
    let installation = Installation::new(&options).await.with_streams().await;
    let worker = installation.worker("worker-session-alice.query").await;
    let submit = ["submit", "ls", "{}", "--own", "--session", "alice"];
    installation
        .done("coordinator-session-alice", &submit)
        .await;
    assert!(!worker.stderr().contains("may not"), "{}", worker.stderr());

    // The same key without the word which lane: it is told at its start, and why.
    let mut greedy = installation
        .worker_process("worker-session-alice.query")
        .args(["--lanes", "query,execute"])
        .start();
    let status = greedy.wait(BOUND).await;
    let said = greedy.stderr();
    assert_eq!(status.code(), Some(3), "{said}");
    for text in [
        "serve lane execute",
        "not permitted",
        "own-alice-execute",
        "--lanes",
    ] {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }

    let intruder = Intruder(installation.connection("worker-session-alice.query").await);
    intruder
        .asks_in_vain(&[
            "a3s.alice.own.query",
            "a3s.alice.query",
            "a3s.bob.result.t",
            "a3s.bob.claim.t",
            "a3s.bob.dlq.query.t",
            "a3s.bob.event.queue.command.completed",
            "a3s.bob.output.t",
            "a3s.alice.dlq.execute.t",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_OWN.own-alice-execute",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_OWN.own-bob-query",
            "$JS.API.CONSUMER.CREATE.A3S_OWN.own-bob-query.a3s.bob.own.query",
            "$JS.API.CONSUMER.CREATE.A3S_OWN.own-alice-query.a3s.*.own.query",
            "$JS.API.CONSUMER.CREATE.A3S_CANCELS.mine.a3s.*.cancel.*",
            "$JS.API.CONSUMER.CREATE.A3S_CANCELS",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.bob.result.t",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.*.result.*",
            "$JS.API.DIRECT.GET.A3S_RESULTS.>",
            "$JS.API.DIRECT.GET.A3S_RESULTS",
            "$JS.API.DIRECT.GET.A3S_CLAIMS.a3s.bob.claim.t",
            "$JS.API.DIRECT.GET.A3S_CANCELS",
            "$JS.API.DIRECT.GET.KV_a3s_sessions.$KV.a3s_sessions.bob",
            "$KV.a3s_sessions.bob",
        ])
        .await;
    intruder
        .listens_in_vain(&[
            "a3s.bob.>",
            "a3s.bob.cancel.*",
            "a3s.*.cancel.*",
            "a3s.alice.>",
            "_INBOX_worker-session-bob.query.>",
        ])
        .await;
    assert!(
        intruder.may_hear("a3s.alice.cancel.*").await,
        "the markers of its own session"
    );
    // A filter in the body that the subject does not name is the server's to refuse.
    let subject = "$JS.API.CONSUMER.CREATE.A3S_CANCELS.mine.a3s.alice.cancel.*";
    let body = r#"{"stream_name":"A3S_CANCELS","config":{"name":"mine","filter_subject":"a3s.bob.cancel.*","deliver_policy":"all","ack_policy":"none"}}"#;
    let answer = intruder
        .0
        .client
        .request(subject, body.into())
        .await
        .expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
    assert!(answer["error"]["err_code"].is_number(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_key_is_not_enough_says_so_before_its_first_task() {
    let without_results = Installation::changed(&[], "\"a3s.*.result.*\"").await;
    let installation = without_results.with_streams().await;
    let mut worker = installation.worker_process("worker-pool-default").start();
    let status = worker.wait(BOUND).await;
    let said = worker.stderr();
    assert_eq!(status.code(), Some(3), "{said}");
    for text in [
        "keys/worker-pool-default.nk is not enough for this worker",
        "store results: not permitted to publish to a3s.no-session.result.",
        "a3s-coordinator doctor",
    ] {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_its_inbox_is_told_how_to_name_it() {
    let installation = Installation::new(&[]).await.with_streams().await;
    let file = installation.dir().join("keys/worker-pool-default.nk");
    let text = std::fs::read_to_string(file).expect("the key");
    let seed = text.lines().find(|line| line.starts_with("SU"));
    let bare = installation.dir().join("bare.nk");
    std::fs::write(&bare, seed.expect("a seed")).expect("it is written");
    let worker = || {
        let worker = a3s_testkit::Process::of("a3s-worker")
            .arg("--nkey")
            .arg(&bare);
        worker.args(["--nats-url", installation.url()])
    };
    let mut deaf = worker().start();
    let status = deaf.wait(BOUND).await;
    assert_eq!(status.code(), Some(3), "{}", deaf.stderr());
    for text in ["not permitted to subscribe to _INBOX.", "--inbox-prefix"] {
        assert!(
            deaf.stderr().contains(text),
            "{text:?} is not in {}",
            deaf.stderr()
        );
    }
    let inbox = "_INBOX_worker-pool-default";
    let hears = worker().args(["--inbox-prefix", inbox]).start();
    hears.wait_for("ready for tasks", BOUND).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pools_worker_sees_whether_a_task_has_a_result_and_cannot_read_it() {
    let installation = Installation::new(&[]).await.with_streams().await;
    let admin = broker(&installation).await;
    let mut heard = admin.client().subscribe("a3s.s.>").await.expect("heard");
    let result = Outgoing {
        subject: "a3s.s.result.t1".to_owned(),
        body: "{}".into(),
        ..Outgoing::default()
    };
    admin.publish(&result).await.expect("it is stored");

    let worker = installation.connection("worker-pool-default").await;
    let (denials, client) = (worker.denials(), worker.client.clone());
    let worker = Broker::heeding(denials, client, None, "a3s").expect("a valid prefix");
    assert!(worker.has_result("s", "t1").await.expect("an answer"));
    assert!(!worker.has_result("s", "t2").await.expect("an answer"));
    let refused = worker.result("s", "t1").await;
    assert!(refused.expect_err("it may not").is_denied());

    // To ask leaves nothing, and nobody who listens to the session hears it.
    assert_eq!(stored(&admin, "A3S_RESULTS").await, 1);
    let last = Outgoing {
        subject: "a3s.s.event.end".to_owned(),
        ..result
    };
    let end = admin.client().publish(last.subject, last.body).await;
    end.expect("the connection is open");
    let mut subjects = Vec::new();
    while subjects.last().is_none_or(|s| s != "a3s.s.event.end") {
        let message = timeout(BOUND, heard.next()).await;
        let message = message.expect("in time").expect("the connection is open");
        subjects.push(message.subject.to_string());
    }
    let expected = ["a3s.s.result.t1", "a3s.s.done.t1", "a3s.s.event.end"];
    assert_eq!(subjects, expected);
}
