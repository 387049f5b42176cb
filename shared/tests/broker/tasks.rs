//! Submitting: accepted once, refused clearly, large or small.

use std::time::Duration;

use a3s_shared::broker::{
    BLOB_THRESHOLD, REQUEST_TIMEOUT, Settings, StoredTask, SubmitError, Unread,
};
use a3s_shared::protocol::{Encoding, Route};
use a3s_testkit::Server;
use serde_json::json;
use tokio::time::timeout;

use crate::{Rig, options, pool, task};

#[tokio::test]
async fn a_task_submitted_twice_is_stored_once() {
    let rig = Rig::start().await;
    let task = task(json!({ "path": "README.md" }));
    let first = rig
        .broker
        .submit(&task, &pool(), &options())
        .await
        .expect("accepted");
    let second = rig
        .broker
        .submit(&task, &pool(), &options())
        .await
        .expect("accepted");
    assert_eq!((first.duplicate, second.duplicate), (false, true));
    assert_eq!(
        (&first.stream, first.sequence),
        (&second.stream, second.sequence)
    );
    assert_eq!(rig.count("A3S_TASKS").await, 1);
    assert!(rig.broker.remove_task(&first).await.expect("removed"));
    assert!(!rig.broker.remove_task(&first).await.expect("gone"));
    assert_eq!(rig.count("A3S_TASKS").await, 0);
}

#[tokio::test]
async fn what_cannot_be_a_part_of_a_subject_is_refused_before_the_broker_sees_it() {
    let rig = Rig::start().await;
    let refusal = async |session: &str, id: &str, route: Route| {
        let mut task = task(json!({}));
        task.session_id = session.into();
        task.task_id = id.into();
        let refused = rig.broker.submit(&task, &route, &options()).await;
        refused.expect_err("a bad name").to_string()
    };
    let hint = "use 1 to 64 letters, digits, '_' or '-'";
    assert_eq!(
        refusal("a.b", "t", pool()).await,
        format!("invalid session id \"a.b\": {hint}")
    );
    assert_eq!(
        refusal("s", "a.b", pool()).await,
        format!("invalid task id \"a.b\": {hint}")
    );
    let wild = Route::Pool(">".into());
    assert_eq!(
        refusal("s", "t", wild).await,
        format!("invalid pool \">\": {hint}")
    );
    for reserved in ["own", "query", "Query"] {
        let message = refusal("s", "t", Route::Pool(reserved.into())).await;
        assert!(message.contains("has a meaning of its own"), "{message}");
    }
    assert_eq!(rig.count("A3S_TASKS").await, 0);
}

#[tokio::test]
async fn a_body_over_max_payload_is_refused_with_both_sizes() {
    let server = Server::builder().config("max_payload: 64KB").start().await;
    let rig = Rig::with(server, &Settings::default()).await;
    let task = task(json!({ "text": "x".repeat(100_000) }));
    let refused = rig
        .broker
        .submit(&task, &pool(), &options())
        .await
        .expect_err("too large");
    assert!(
        matches!(refused, SubmitError::Refused { .. }),
        "{refused:?}"
    );
    let message = refused.to_string();
    assert!(
        message.contains("more than the server's max_payload of 65536"),
        "{message}"
    );
}

#[tokio::test]
async fn large_bodies_pass_although_messages_are_small() {
    let server = Server::builder().config("max_payload: 256KB").start().await;
    let rig = Rig::with(server, &Settings::default()).await;
    let task = task(json!({ "text": "x".repeat(4 * BLOB_THRESHOLD) }));
    for encoding in [Encoding::MessagePack, Encoding::Json] {
        let task = a3s_shared::protocol::ExternalTask {
            task_id: format!("large-{}", encoding.content_type().len()),
            ..task.clone()
        };
        let options = a3s_shared::broker::TaskOptions {
            encoding,
            ..options()
        };
        let accepted = rig
            .broker
            .submit(&task, &pool(), &options)
            .await
            .expect("accepted");
        let blob = accepted.blob.clone().expect("the body is a blob");
        let message = rig
            .broker
            .at(&accepted.stream, accepted.sequence)
            .await
            .expect("an answer");
        let message = message.expect("the task's message");
        assert!(message.body.is_empty());
        let stored = StoredTask::read(&rig.broker, &accepted.stream, message).expect("a task");
        let (read, _) = stored.task(&rig.broker).await.expect("the body is read");
        assert_eq!(read, task);
        assert!(rig.broker.remove_task(&accepted).await.expect("removed"));
        let gone = rig.broker.get_blob(&blob).await;
        assert!(gone.is_err(), "the body went with its task");
    }
}

#[tokio::test]
async fn a_blob_that_is_not_what_its_name_says_is_refused() {
    let rig = Rig::start().await;
    let name = rig
        .broker
        .put_blob(&b"the truth"[..], "t")
        .await
        .expect("stored");
    assert_eq!(
        rig.broker.get_blob(&name).await.expect("read").as_ref(),
        b"the truth"
    );
    let bucket = rig
        .broker
        .jetstream()
        .get_object_store("a3s_blobs")
        .await
        .expect("blobs");
    let mut lie: &[u8] = b"something else";
    bucket.put(name.as_str(), &mut lie).await.expect("replaced");
    let message = rig
        .broker
        .get_blob(&name)
        .await
        .expect_err("a lie")
        .to_string();
    assert!(
        message.contains("its digest is not the one in its name"),
        "{message}"
    );
    rig.broker.remove_blob(&name).await.expect("removed");
    rig.broker
        .remove_blob(&name)
        .await
        .expect("one that is gone is no error");
}

#[tokio::test]
async fn equal_bodies_of_two_tasks_go_each_with_its_own() {
    let rig = Rig::start().await;
    let one = rig
        .broker
        .put_blob(&b"same"[..], "one")
        .await
        .expect("stored");
    let two = rig
        .broker
        .put_blob(&b"same"[..], "two")
        .await
        .expect("stored");
    assert_ne!(one, two);
    rig.broker.remove_blob(&one).await.expect("removed");
    assert_eq!(
        rig.broker
            .get_blob(&two)
            .await
            .expect("still there")
            .as_ref(),
        b"same"
    );
}

#[tokio::test]
async fn a_full_stream_refuses_and_keeps_what_it_has() {
    let small = Settings {
        stream_mib: 1,
        ..Settings::default()
    };
    let rig = Rig::with(Server::start().await, &small).await;
    let body = json!({ "text": "x".repeat(200_000) });
    let mut accepted = 0;
    let refused = loop {
        match rig
            .broker
            .submit(&task(body.clone()), &pool(), &options())
            .await
        {
            Ok(_) => accepted += 1,
            Err(refused) => break refused.to_string(),
        }
        assert!(accepted < 10, "one MiB cannot hold ten of these");
    };
    assert!(refused.contains("was not accepted"), "{refused}");
    assert!(refused.contains("maximum bytes exceeded"), "{refused}");
    assert_eq!(rig.count("A3S_TASKS").await, accepted);
}

#[tokio::test]
async fn a_large_body_that_is_away_is_not_one_that_is_gone() {
    let mut rig = Rig::start().await;
    let task = task(json!({ "content": "x".repeat(2 * BLOB_THRESHOLD) }));
    let accepted = rig.broker.submit(&task, &pool(), &options()).await;
    let accepted = accepted.expect("accepted");
    let message = rig.broker.at("A3S_TASKS", accepted.sequence).await;
    let message = message.expect("an answer").expect("the task");
    let stored = StoredTask::read(&rig.broker, "A3S_TASKS", message).expect("a task");
    rig.server.stop_process();
    let away = stored.task(&rig.broker).await;
    assert!(matches!(away, Err(Unread::NotNow(_))), "{away:?}");
    rig.server.continue_process();
    stored.task(&rig.broker).await.expect("it is there again");
    let blob = accepted.blob.expect("a large body");
    rig.broker.remove_blob(&blob).await.expect("removed");
    let gone = stored.task(&rig.broker).await;
    assert!(matches!(gone, Err(Unread::Never(_))), "{gone:?}");
}

#[tokio::test]
async fn a_large_task_that_is_submitted_while_the_server_is_away_is_accepted_when_it_is_back() {
    let mut rig = Rig::start().await;
    rig.server.kill();
    let broker = rig.broker.clone();
    let large = task(json!({ "content": "x".repeat(4 * BLOB_THRESHOLD) }));
    let submitted = tokio::spawn(async move { broker.submit(&large, &pool(), &options()).await });
    // Long enough that the first try has got no answer.
    tokio::time::sleep(REQUEST_TIMEOUT + Duration::from_secs(2)).await;
    assert!(!submitted.is_finished(), "it waits for the server");
    rig.server.start_again().await;
    let accepted = timeout(Duration::from_secs(50), submitted).await;
    let accepted = accepted.expect("in time").expect("no panic");
    assert!(accepted.expect("accepted").blob.is_some());
    assert_eq!(rig.count("A3S_TASKS").await, 1);
}
