//! The janitor is killed at every step: its work is dropped at every point at which it waits, for
//! every such point, and done again by another.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;

use a3s_shared::broker::{Broker, Settings, StoredTask, TaskOptions, TaskStream};
use a3s_shared::protocol::{
    Effect, Encoding, ExternalTask, Outcome, RetryPolicy, Route, SessionLane, clock,
};
use a3s_testkit::Server;
use serde_json::json;

use super::clear;

/// More points than any of these have.
const ENOUGH: usize = 100;

/// Runs `work` until it has waited `waits` times, and drops it there. True when it was done before.
async fn killed_after(waits: usize, work: impl Future) -> bool {
    let (mut work, mut waited) = (pin!(work), 0);
    std::future::poll_fn(move |context| {
        if waited == waits {
            return Poll::Ready(false);
        }
        waited += 1;
        work.as_mut().poll(context).map(|_| true)
    })
    .await
}

async fn broker(server: &Server) -> Broker {
    let broker = Broker::new(server.client().await, None, "a3s").expect("a valid prefix");
    let ensured = broker.ensure(&Settings::default()).await;
    ensured.expect("the streams");
    broker
}

/// A task that is in its stream, as the janitor reads it.
async fn stored(broker: &Broker, id: &str) -> (StoredTask, ExternalTask) {
    let task = ExternalTask {
        task_id: id.to_owned(),
        session_id: "s".to_owned(),
        lane: SessionLane::Query,
        command_type: "read".to_owned(),
        payload: json!({ "path": "x".repeat(300 * 1024) }),
        timeout_ms: 60_000,
        deadline_ms: clock::now_ms() + 60_000,
    };
    let options = TaskOptions {
        effect: Effect::Idempotent,
        retry: RetryPolicy::default(),
        encoding: Encoding::MessagePack,
        traceparent: None,
        workspace: None,
    };
    let route = Route::Pool("default".to_owned());
    let accepted = broker.submit(&task, &route, &options).await;
    let accepted = accepted.expect("it is accepted");
    let stream = broker.names().tasks(TaskStream::Pool);
    let message = broker.at(&stream, accepted.sequence).await;
    let message = message.expect("an answer").expect("it is there");
    let stored = StoredTask::read(broker, &stream, message);
    (stored.expect("a task"), task)
}

type Work<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Has `work` killed at each of its points, each time on a task of its own, and done again; then
/// `outcome` is the only one. Returns how many points there were.
async fn at_every_point(
    broker: &Broker,
    name: &str,
    outcome: Outcome,
    work: impl for<'a> Fn(&'a Broker, &'a StoredTask, &'a ExternalTask) -> Work<'a>,
) -> usize {
    for waits in 1..ENOUGH {
        let id = format!("{name}-{waits}");
        let (stored, task) = stored(broker, &id).await;
        let done = killed_after(waits, work(broker, &stored, &task)).await;
        work(broker, &stored, &task).await;
        let left = broker.scan("A3S_TASKS", ">", 1).await.expect("the stream");
        assert_eq!(left.len(), 0, "{id}: the task is gone");
        let subject = broker.names().result("s", &id);
        let results = broker.scan("A3S_RESULTS", &subject, 1).await;
        assert_eq!(results.expect("the stream").len(), 1, "{id}: one result");
        let result = broker.result("s", &id).await.expect("an answer");
        assert_eq!(result.map(|r| r.outcome()), Some(outcome), "{id}");
        if done {
            return waits - 1;
        }
    }
    panic!("it waits more than {ENOUGH} times");
}

#[tokio::test]
async fn a_mover_that_is_killed_anywhere_leaves_one_letter_and_one_result() {
    let server = Server::start().await;
    let broker = broker(&server).await;
    let points = at_every_point(
        &broker,
        "moved",
        Outcome::DeadLettered,
        |broker, stored, _| {
            Box::pin(async {
                let buried = clear::bury(broker, stored, "given up", 9).await;
                buried.expect("the broker answers");
            })
        },
    )
    .await;
    assert!(
        points >= 4,
        "its body, result, record, letter, task: {points}"
    );
    let letters = broker.dead_letters(Some("s")).await.expect("an answer");
    assert_eq!(letters.len(), points + 1, "one for each task");
}

#[tokio::test]
async fn a_sweeper_that_is_killed_anywhere_leaves_one_result_and_no_letter() {
    let server = Server::start().await;
    let broker = broker(&server).await;
    let points = at_every_point(
        &broker,
        "swept",
        Outcome::TimedOut,
        |broker, stored, task| {
            Box::pin(async {
                let timed_out = clear::time_out(broker, stored, task).await;
                timed_out.expect("the broker answers");
            })
        },
    )
    .await;
    assert!(points >= 3, "its result, its body, the task: {points}");
    let letters = broker.dead_letters(Some("s")).await.expect("an answer");
    assert_eq!(letters, []);
}
