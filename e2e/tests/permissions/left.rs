//! What permissions cannot hold back, as `docs/security.md` lists it. When one of these fails, the
//! server has become better, or the page has become wrong.

use a3s_shared::broker::{Broker, Outgoing};
use a3s_testkit::eventually;

use crate::BOUND;
use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_as_the_page_says() {
    let installation = Installation::new(&[]).await.with_streams().await;
    let admin = installation.connection("coordinator").await;
    let admin = Broker::new(admin.client, None, "a3s").expect("a valid prefix");
    let worker = installation.connection("worker-pool-default").await;
    let taken_over = Broker::new(worker.client.clone(), None, "a3s").expect("a valid prefix");

    // An answer goes wherever the question says: what it may read becomes a task.
    let claim = Outgoing {
        subject: "a3s.other.claim.t1".to_owned(),
        body: r#"{"command_type":"ls","payload":{}}"#.into(),
        ..Outgoing::default()
    };
    admin.publish(&claim).await.expect("it is stored");
    let question = "$JS.API.DIRECT.GET.A3S_CLAIMS.a3s.other.claim.t1";
    let asked = worker
        .client
        .publish_with_reply(question, "a3s.other.query", "".into())
        .await;
    asked.expect("the connection is open");
    eventually("a task that nobody submitted", BOUND, async || {
        let tasks = admin.scan("A3S_TASKS", "a3s.other.query", 1).await;
        let count = tasks.map_err(|error| error.to_string())?.len();
        (count == 1).then_some(()).ok_or(format!("{count} tasks"))
    })
    .await;

    // Whoever may write one key of a bucket may empty the bucket.
    let heartbeat = |id: &str| Outgoing {
        subject: format!("$KV.a3s_workers.{id}"),
        body: "{}".into(),
        ..Outgoing::default()
    };
    admin.publish(&heartbeat("w1")).await.expect("it is stored");
    let all = Outgoing {
        headers: vec![("Nats-Rollup", "all".to_owned())],
        ..heartbeat("w2")
    };
    taken_over.publish(&all).await.expect("it is stored");
    let kept = admin
        .scan("KV_a3s_workers", ">", 1)
        .await
        .expect("an answer");
    let kept: Vec<&str> = kept
        .iter()
        .map(|message| message.subject.as_str())
        .collect();
    assert_eq!(kept, ["$KV.a3s_workers.w2"]);
    // But not a stream of tasks, results, claims or letters.
    let all = Outgoing {
        headers: vec![("Nats-Rollup", "all".to_owned())],
        ..claim
    };
    let refused = taken_over
        .publish(&all)
        .await
        .expect_err("no roll-ups here");
    assert!(refused.to_string().contains("rollup"), "{refused}");
}
