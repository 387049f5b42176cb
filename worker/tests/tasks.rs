//! What a worker does with tasks: good ones, bad ones, late ones, cancelled ones, urgent ones.

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use a3s_shared::broker::{Broker, Replays, Settings};
use a3s_shared::protocol::{
    CancelMarker, Encoding, ErrorKind, EventKind, Outcome, RetryPolicy, RetryStrategy, Route,
    SessionLane, TaskResult, clock,
};
use a3s_testkit::{Process, eventually};
use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;
use support::{BOUND, Job, Rig, next_event, shell};

async fn publish(broker: &Broker, subject: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, *value);
    }
    let sent = broker
        .jetstream()
        .publish_with_headers(subject.to_owned(), map, body.into())
        .await;
    sent.expect("it is sent").await.expect("it is stored");
}

async fn first_result(rig: &Rig, session: &str) -> TaskResult {
    let filter = rig.broker.names().result(session, "*");
    eventually("a result of the session", BOUND, async || {
        let found = rig
            .broker
            .scan("A3S_RESULTS", &filter, 1)
            .await
            .map_err(|e| e.to_string())?;
        let message = found.into_iter().next().ok_or("none yet")?;
        let read = rig.broker.read_result(&message.headers, message.body).await;
        read.map_err(|e| e.to_string())
    })
    .await
}

#[tokio::test]
async fn a_task_published_by_hand_needs_nothing_but_its_command_type() {
    let rig = Rig::start().await;
    std::fs::write(rig.workspace().join("README.md"), "hello\n").expect("a file");
    let _worker = rig.ready_worker("w", &[]).await;
    let body = r#"{"command_type":"read","payload":{"path":"README.md"}}"#;
    publish(&rig.broker, "a3s.demo.query", &[], body).await;
    let result = first_result(&rig, "demo").await;
    assert_eq!(result.outcome(), Outcome::Completed);
    assert_eq!(result.result["content"], "hello\n");
}

#[tokio::test]
async fn bad_input_gets_a_clear_error_and_costs_nothing_else() {
    let rig = Rig::start().await;
    let mut worker = rig.ready_worker("w", &[]).await;
    let deep = format!(
        r#"{{"command_type":"read","payload":{}1{}}}"#,
        "[".repeat(500),
        "]".repeat(500)
    );
    // Session, headers, body, and what the error says.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            "json",
            &[],
            b"{\"command_type\":".to_vec(),
            "not valid JSON: EOF",
        ),
        ("pack", &[], vec![0x85, 0xa3, 0x61], "not valid MessagePack"),
        ("empty", &[], Vec::new(), "not valid MessagePack"),
        (
            "missing",
            &[],
            b"{\"payload\":{}}".to_vec(),
            "missing field `command_type`",
        ),
        (
            "lane",
            &[],
            br#"{"command_type":"read","lane":"fast"}"#.to_vec(),
            "unknown lane \"fast\"",
        ),
        (
            "other",
            &[],
            br#"{"command_type":"read","lane":"Execute"}"#.to_vec(),
            "not the subject's Query",
        ),
        (
            "sess",
            &[],
            br#"{"command_type":"read","session_id":"x"}"#.to_vec(),
            "not the subject's \"sess\"",
        ),
        (
            "id",
            &[],
            br#"{"command_type":"read","task_id":"a.b"}"#.to_vec(),
            "invalid task id \"a.b\"",
        ),
        ("deep", &[], deep.into_bytes(), "recursion limit"),
        (
            "blob",
            &[("A3s-Blob", "sha256-00.x")],
            Vec::new(),
            "read body sha256-00.x",
        ),
    ];
    for (session, headers, body, error) in &cases {
        publish(
            &rig.broker,
            &format!("a3s.{session}.query"),
            headers,
            body.clone(),
        )
        .await;
        let result = first_result(&rig, session).await;
        assert_eq!(
            result.outcome(),
            Outcome::DeadLettered,
            "{session}: {result:?}"
        );
        let said = result.error.expect("an error");
        assert!(
            said.contains(error),
            "{session}: {said:?} does not say {error:?}"
        );
        let letters = rig
            .broker
            .dead_letters(Some(session))
            .await
            .expect("dead letters");
        assert_eq!(letters.len(), 1, "{session}");
    }
    assert!(worker.is_running());
    let id = rig.submit(Job::default()).await;
    assert_eq!(rig.result(&id).await.outcome(), Outcome::Completed);
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn an_unknown_command_says_what_the_worker_has() {
    let rig = Rig::start().await;
    let _worker = rig.ready_worker("w", &["--tools", "read,grep"]).await;
    let id = rig
        .submit(Job {
            command: "bash",
            ..Job::default()
        })
        .await;
    let result = rig.result(&id).await;
    assert_eq!(result.error_kind, Some(ErrorKind::UnknownCommand));
    let error = result.error.expect("an error");
    assert_eq!(
        error,
        "Unknown command type: bash; this worker has grep, read"
    );
}

#[tokio::test]
async fn a_task_whose_deadline_is_over_is_never_started() {
    let rig = Rig::start().await;
    let id = rig
        .submit(Job {
            timeout: Duration::from_millis(1),
            ..shell(SessionLane::Query, "echo x >> ran")
        })
        .await;
    let _worker = rig.ready_worker("w", &[]).await;
    let result = rig.result(&id).await;
    assert_eq!((result.outcome(), result.attempt), (Outcome::TimedOut, 0));
    assert_eq!(rig.file("ran"), "");
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn the_deadline_kills_the_tree_and_keeps_what_was_printed() {
    let rig = Rig::start().await;
    let _worker = rig.ready_worker("w", &[]).await;
    let command = "echo before; (sleep 300; echo leaked >> leaked) & echo $! > pid; sleep 300";
    let started = Instant::now();
    let id = rig
        .submit(Job {
            timeout: Duration::from_secs(1),
            ..shell(SessionLane::Execute, command)
        })
        .await;
    let result = rig.result(&id).await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(result.outcome(), Outcome::TimedOut);
    assert_eq!(result.result["stdout"], "before\n");
    let pid = rig.file("pid").trim().to_owned();
    eventually("the child is gone", BOUND, async || {
        let there = std::path::Path::new("/proc").join(&pid).exists();
        (!there).then_some(()).ok_or("it lives")
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_task_ends_within_a_second_with_what_it_printed() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let _worker = rig.ready_worker("w", &[]).await;
    let task = rig
        .submit_full(shell(SessionLane::Execute, "echo partial; sleep 300"))
        .await;
    next_event(&mut events, EventKind::Started, &task.task_id).await;
    let marker = CancelMarker {
        reason: "enough".into(),
        at_ms: clock::now_ms(),
    };
    let asked = Instant::now();
    rig.broker
        .cancel("s", &task.task_id, &marker, task.deadline_ms)
        .await
        .expect("it is kept");
    let result = rig.result(&task.task_id).await;
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(result.outcome(), Outcome::Cancelled);
    assert!(
        result.result["stdout"]
            .as_str()
            .is_some_and(|s| "partial\n".starts_with(s))
    );
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_task_that_was_cancelled_in_the_queue_never_starts() {
    let rig = Rig::start().await;
    let task = rig
        .submit_full(shell(SessionLane::Query, "echo x >> ran"))
        .await;
    let marker = CancelMarker {
        reason: "not needed".into(),
        at_ms: clock::now_ms(),
    };
    rig.broker
        .cancel("s", &task.task_id, &marker, task.deadline_ms)
        .await
        .expect("it is kept");
    let _worker = rig.ready_worker("w", &[]).await;
    let result = rig.result(&task.task_id).await;
    assert_eq!(result.outcome(), Outcome::Cancelled);
    assert_eq!(
        result.error.as_deref(),
        Some("cancelled before it was started: not needed")
    );
    assert_eq!(rig.file("ran"), "");
}

#[tokio::test]
async fn a_tool_that_asks_for_another_attempt_gets_it_after_the_delay() {
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let flaky = rig.script(
        "flaky.sh",
        "echo x >> tries; test $(wc -l < tries) -ge 3 && echo '{\"success\":true}' && exit 0\necho busy >&2; exit 75",
    );
    let _worker = rig
        .ready_worker("w", &["--tool", &format!("flaky={flaky}")])
        .await;
    let retry = RetryPolicy {
        strategy: RetryStrategy::Fixed,
        fixed_delay_ms: Some(300),
        ..RetryPolicy::default()
    };
    let id = rig
        .submit(Job {
            command: "flaky",
            retry,
            ..Job::default()
        })
        .await;
    let first = next_event(&mut events, EventKind::Retry, &id).await;
    let second = next_event(&mut events, EventKind::Retry, &id).await;
    assert_eq!((first.attempt, second.attempt), (Some(1), Some(2)));
    assert!(
        first.delay_ms.is_some_and(|ms| (150..=300).contains(&ms)),
        "{first:?}"
    );
    assert!(second.time_ms - first.time_ms >= 150);
    let result = rig.result(&id).await;
    assert_eq!((result.outcome(), result.attempt), (Outcome::Completed, 3));
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn a_task_that_always_asks_again_is_buried_with_its_history_and_can_be_replayed() {
    let rig = Rig::start().await;
    let tool = rig.script(
        "tool.sh",
        "test -e fixed && exit 0; echo still broken >&2; exit 75",
    );
    let _worker = rig
        .ready_worker("w", &["--tool", &format!("tool={tool}")])
        .await;
    let retry = RetryPolicy {
        max_retries: 2,
        initial_delay_ms: 20,
        ..RetryPolicy::default()
    };
    let payload = json!({"keep": "this"});
    let id = rig
        .submit(Job {
            command: "tool",
            payload: payload.clone(),
            retry,
            ..Job::default()
        })
        .await;
    assert_eq!(rig.result(&id).await.outcome(), Outcome::DeadLettered);
    let letter = rig
        .broker
        .dead_letters(None)
        .await
        .expect("dead letters")
        .remove(0);
    assert_eq!(
        (letter.attempts, letter.history.len(), &letter.payload),
        (3, 2, &payload)
    );
    assert!(letter.error.contains("still broken"), "{}", letter.error);

    std::fs::write(rig.workspace().join("fixed"), "").expect("the cause is mended");
    Replays::new(&rig.broker)
        .replay(&letter)
        .await
        .expect("it is replayed");
    let result = rig.result(&id).await;
    assert_eq!((result.outcome(), result.attempt), (Outcome::Completed, 1));
    assert_eq!(
        rig.broker.dead_letters(None).await.expect("dead letters"),
        []
    );
    rig.nothing_is_left().await;
}

/// The wait that 95 of 100 tasks do not exceed, in milliseconds.
fn p95(mut waits: Vec<u64>) -> u64 {
    waits.sort_unstable();
    waits[(waits.len() * 95).div_ceil(100) - 1]
}

#[tokio::test]
async fn control_starts_at_once_and_query_before_every_queued_execute() {
    const QUEUED: usize = 1_000;
    const URGENT: usize = 20;
    let rig = Rig::start().await;
    let mut events = rig.events().await;
    let _workers = [
        rig.ready_worker("a", &["-j", "4"]).await,
        rig.ready_worker("b", &["-j", "4"]).await,
    ];
    let mut submitted = HashMap::new();
    for _ in 0..QUEUED {
        let job = shell(SessionLane::Execute, "sleep 0.05");
        let task = rig
            .submit_full(Job {
                timeout: BOUND * 10,
                ..job
            })
            .await;
        submitted.insert(task.task_id, clock::now_ms());
    }
    // All slots are busy now, and far more waits than they can do in the meantime.
    for _ in 0..URGENT {
        for lane in [SessionLane::Query, SessionLane::Control] {
            let task = rig.submit_full(shell(lane, "true")).await;
            submitted.insert(task.task_id, clock::now_ms());
        }
    }
    let mut waits: HashMap<SessionLane, Vec<u64>> = HashMap::new();
    let (mut started, mut execute_before_last_urgent, mut urgent) = (0, 0, 0);
    while started < QUEUED + 2 * URGENT {
        let event = next_event(&mut events, EventKind::Started, "").await;
        let (id, lane) = (event.task_id.expect("a task"), event.lane.expect("a lane"));
        let wait = event.time_ms.saturating_sub(submitted[&id]);
        waits.entry(lane).or_default().push(wait);
        started += 1;
        match lane {
            SessionLane::Execute if urgent < 2 * URGENT => execute_before_last_urgent += 1,
            SessionLane::Execute => {}
            _ => urgent += 1,
        }
    }
    let [control, query, execute] = [
        SessionLane::Control,
        SessionLane::Query,
        SessionLane::Execute,
    ]
    .map(|lane| p95(waits.remove(&lane).expect("waits")));
    eprintln!("p95 waits: control {control} ms, query {query} ms, execute {execute} ms");
    assert!(
        control <= query && query < execute,
        "{control} {query} {execute}"
    );
    assert!(
        execute_before_last_urgent < QUEUED / 2,
        "{execute_before_last_urgent} execute tasks started before the last urgent one"
    );
}

#[tokio::test]
async fn what_remains_is_right_on_a_machine_whose_clock_is_an_hour_off() {
    if std::process::Command::new("faketime")
        .arg("--version")
        .output()
        .is_err()
    {
        assert!(
            std::env::var_os("CI").is_none(),
            "faketime is not installed"
        );
        eprintln!("SKIPPED: a worker with a wrong clock, because faketime is not installed");
        return;
    }
    let rig = Rig::start().await;
    let echo = rig.script("echo.sh", "cat");
    for offset in ["+1h", "-1h"] {
        let worker = Process::at("faketime")
            .args(["--exclude-monotonic", "-f", offset])
            .arg(a3s_testkit::binary("a3s-worker"))
            .args([
                "--nats-url",
                rig.server.url(),
                "--tool",
                &format!("echo={echo}"),
            ])
            .start();
        worker.wait_for("ready for tasks", BOUND).await;
        let id = rig
            .submit(Job {
                command: "echo",
                ..Job::default()
            })
            .await;
        let result = rig.result(&id).await;
        assert_eq!(result.outcome(), Outcome::Completed, "{offset}: {result:?}");
        let output = result.result["output"]
            .as_str()
            .expect("a tool prints text");
        let task: serde_json::Value = serde_json::from_str(output).expect("the task as JSON");
        let remaining = task["remaining_ms"].as_u64().expect("a number");
        let timeout = u64::try_from(BOUND.as_millis()).expect("a short time");
        assert!(
            (timeout / 2..=timeout).contains(&remaining),
            "{offset}: {remaining} ms remain"
        );
    }
}

#[tokio::test]
async fn an_own_lane_never_runs_more_than_its_cap_over_all_workers() {
    let rig = Rig::start().await;
    let settings = Settings {
        ack_wait: support::ACK_WAIT,
        ..Settings::default()
    };
    rig.broker
        .ensure_own("s", [2, 4, 2, 1], &settings)
        .await
        .expect("the own consumers");
    let workers = ["a", "b", "c"];
    let mut running = Vec::new();
    for id in workers {
        running.push(
            rig.ready_worker(id, &["--session-id", "s", "-j", "8"])
                .await,
        );
    }
    let mut ids = Vec::new();
    for _ in 0..20 {
        let job = shell(SessionLane::Execute, "sleep 0.2");
        ids.push(
            rig.submit(Job {
                route: Route::Own,
                ..job
            })
            .await,
        );
    }
    let mut spans = Vec::new();
    for id in &ids {
        let result = rig.result(id).await;
        assert_eq!(result.outcome(), Outcome::Completed, "{result:?}");
        spans.push((
            result.started_at_ms,
            result.started_at_ms + result.duration_ms,
        ));
    }
    let most = spans.iter().map(|(start, _)| {
        spans
            .iter()
            .filter(|(from, to)| from <= start && start < to)
            .count()
    });
    assert_eq!(most.max(), Some(2), "both places are used, and no third");
    rig.nothing_is_left().await;
}

#[tokio::test]
async fn large_bodies_go_through_the_object_store_and_leave_with_their_task() {
    let rig = Rig::start().await;
    let _worker = rig.ready_worker("w", &[]).await;
    let text = "x".repeat(8 * 1024 * 1024);
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let payload = json!({ "path": "big", "content": text });
        let write = rig
            .submit(Job {
                command: "write",
                payload,
                encoding,
                ..Job::default()
            })
            .await;
        assert_eq!(rig.result(&write).await.outcome(), Outcome::Completed);
        let payload = json!({ "command": "head -c 300000 big" });
        let read = rig
            .submit(Job {
                payload,
                encoding,
                ..Job::default()
            })
            .await;
        assert_eq!(rig.result(&read).await.outcome(), Outcome::Completed);
    }
    assert_eq!(rig.file("big").len(), text.len());
    let bucket = rig
        .broker
        .jetstream()
        .get_object_store("a3s_blobs")
        .await
        .expect("the store");
    eventually("the bodies of tasks are gone", BOUND, async || {
        let list = bucket.list().await.map_err(|e| e.to_string())?;
        let names = futures::TryStreamExt::try_collect::<Vec<_>>(list).await;
        let names = names.map_err(|e| e.to_string())?;
        let tasks = names
            .iter()
            .filter(|o| !o.deleted && !o.name.ends_with("-result"))
            .count();
        (tasks == 0)
            .then_some(())
            .ok_or(format!("{tasks} are left"))
    })
    .await;
}

#[tokio::test]
async fn both_encodings_are_answered_in_kind_and_payloads_survive() {
    let rig = Rig::start().await;
    let echo = rig.script("echo.sh", "cat");
    let _worker = rig
        .ready_worker("w", &["--tool", &format!("echo={echo}")])
        .await;
    let payload = json!({"e": [], "max": i64::MAX, "text": "žluť 🦀 \u{1}", "null": null});
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let job = Job {
            command: "echo",
            payload: payload.clone(),
            encoding,
            ..Job::default()
        };
        let id = rig.submit(job).await;
        let result = rig.result(&id).await;
        let output = result.result["output"]
            .as_str()
            .expect("a tool prints text");
        let task: serde_json::Value = serde_json::from_str(output).expect("the task as JSON");
        assert_eq!(task["payload"], payload);
        let subject = rig.broker.names().result("s", &id);
        let stored = rig
            .broker
            .last("A3S_RESULTS", &subject)
            .await
            .expect("an answer");
        let stored = stored.expect("the result");
        assert_eq!(stored.header("Content-Type"), Some(encoding.content_type()));
    }
}
