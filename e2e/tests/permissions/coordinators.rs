//! Coordinators: of all sessions, and of one.

use crate::installation::Installation;
use crate::intruder::Intruder;

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_a_session_works_in_it_and_touches_no_other() {
    let installation = Installation::new(&["--session", "alice", "--session", "bob"]).await;
    let installation = installation.with_streams().await;
    let worker = installation.worker("worker-pool-default").await;
    let alice = "coordinator-session-alice";

    // Its whole work: it submits, gets results, now and later, and sees what could not be done.
    let submit = ["submit", "ls", "{}", "--session", "alice", "--id", "t1"];
    installation.done(alice, &submit).await;
    let result = ["task", "result", "t1", "--session", "alice"];
    installation.done(alice, &result).await;
    installation
        .done(alice, &["dlq", "ls", "--session", "alice"])
        .await;
    installation.done(alice, &["workers"]).await;

    // It sends a tree, its worker runs in it, and what that changed comes back.
    let tree = installation.dir().join("tree");
    std::fs::create_dir(&tree).expect("a directory");
    std::fs::write(tree.join("file"), "before\n").expect("a file");
    let sync = format!("--sync={}", tree.display());
    let map = ["map", "--session", "alice", &sync, "--fetch", "file"];
    let command = ["echo after > {}", ":::", "file"];
    installation
        .done(alice, &[&map[..], &command[..]].concat())
        .await;
    let text = std::fs::read_to_string(tree.join("file"));
    assert_eq!(text.expect("a file"), "after\n");

    // Another session: the user is told at once, and what to do.
    let submit = ["submit", "ls", "{}", "--session", "bob"];
    let (success, output) = installation.run(alice, &submit).await;
    assert!(!success, "{output}");
    for text in ["not permitted", "bob", "a3s-coordinator doctor"] {
        assert!(output.contains(text), "{text:?} is not in {output}");
    }

    let intruder = Intruder(installation.connection(alice).await);
    intruder
        .asks_in_vain(&[
            "a3s.bob.query",
            "a3s.bob.query.eu",
            "a3s.bob.own.execute",
            "a3s.bob.result.t",
            "a3s.bob.cancel.t",
            "a3s.bob.claim.t",
            "a3s.bob.dlq.query.t",
            "a3s.bob.rate",
            "a3s.workspace.changes.0",
            "$JS.API.STREAM.PURGE.A3S_WORKSPACES",
            "a3s.bob.event.queue.command.completed",
            "$KV.a3s_sessions.bob",
            "$KV.a3s_workers.w1",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.bob.result.t",
            "$JS.API.DIRECT.GET.A3S_RESULTS.a3s.*.result.*",
            "$JS.API.DIRECT.GET.A3S_RESULTS",
            "$JS.API.DIRECT.GET.A3S_DLQ.a3s.bob.dlq.query.t",
            "$JS.API.DIRECT.GET.A3S_DLQ",
            "$JS.API.DIRECT.GET.A3S_TASKS",
            "$JS.API.DIRECT.GET.KV_a3s_sessions.$KV.a3s_sessions.bob",
            "$JS.API.CONSUMER.CREATE.A3S_DLQ.mine.a3s.*.dlq.*.*",
            "$JS.API.CONSUMER.CREATE.A3S_CANCELS.mine.a3s.bob.cancel.*",
            "$JS.API.CONSUMER.CREATE.KV_a3s_sessions.mine.$KV.a3s_sessions.bob",
            "$JS.API.CONSUMER.CREATE.KV_a3s_sessions",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_TASKS.pool-default-query",
            "$JS.API.CONSUMER.MSG.NEXT.A3S_ADVISORIES.mover",
            "$JS.API.STREAM.MSG.DELETE.A3S_TASKS",
            "$JS.API.STREAM.PURGE.A3S_DLQ",
            "$JS.API.STREAM.DELETE.A3S_TASKS",
            "$JS.API.STREAM.CREATE.MINE",
            "$JS.API.STREAM.UPDATE.A3S_TASKS",
        ])
        .await;
    intruder
        .listens_in_vain(&[
            "a3s.bob.>",
            "a3s.*.done.*",
            "a3s.>",
            ">",
            "_INBOX_coordinator.>",
        ])
        .await;
    assert!(
        intruder.may_hear("a3s.alice.done.*").await,
        "its own results"
    );
    drop(worker);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_create_the_streams_is_told_who_may() {
    let installation = Installation::new(&["--session", "alice"]).await;
    let submit = ["submit", "ls", "{}", "--session", "alice"];
    let (success, output) = installation.run("coordinator-session-alice", &submit).await;
    assert!(!success, "{output}");
    for text in ["create stream", "started once", "not permitted"] {
        assert!(output.contains(text), "{text:?} is not in {output}");
    }
}
