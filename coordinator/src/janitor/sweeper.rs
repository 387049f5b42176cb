//! Sweeps up tasks that are long past their deadline: nobody serves their lane, their caller is
//! gone, or the broker gave them up without anybody hearing of it.

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, StoredTask, TaskStream, Unread};
use a3s_shared::protocol::clock;
use tokio::time::sleep;

use super::clear;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(30);
/// How many messages it reads a time. A long queue is walked over several times.
const AT_A_TIME: usize = 500;
/// How long after its deadline a task is left alone: its worker and its caller come first.
const GRACE_MS: u64 = 10_000;

/// Sweeps for ever.
pub(crate) async fn sweep_overdue(broker: Broker) {
    let mut cursors = [TaskStream::Pool, TaskStream::Own].map(|which| (which, 1));
    loop {
        // Not all processes at the same moment.
        sleep(EVERY.mul_f64(0.75 + rand::random::<f64>() / 2.0)).await;
        for (which, cursor) in &mut cursors {
            match sweep(&broker, *which, *cursor, AT_A_TIME).await {
                Ok(next) => *cursor = next,
                Err(error) if error.is_denied() => {
                    tracing::debug!(%error, "others sweep up overdue tasks");
                    return;
                }
                Err(error) => tracing::debug!(%error, "overdue tasks could not be swept"),
            }
        }
    }
}

/// Looks at `count` tasks from sequence `from` on and clears what is overdue. Returns where to go
/// on: at the beginning when it came to the end.
async fn sweep(
    broker: &Broker,
    which: TaskStream,
    from: u64,
    count: usize,
) -> Result<u64, BrokerError> {
    let stream = broker.names().tasks(which);
    let mut next = from;
    for _ in 0..count {
        let Some(message) = broker.next(&stream, ">", next).await? else {
            return Ok(1);
        };
        next = message.sequence + 1;
        if let Some(stored) = StoredTask::read(broker, &stream, message) {
            clear_if_overdue(broker, &stored).await?;
        }
    }
    Ok(next)
}

async fn clear_if_overdue(broker: &Broker, stored: &StoredTask) -> Result<(), BrokerError> {
    let overdue = |deadline_ms: u64| clock::now_ms() > deadline_ms.saturating_add(GRACE_MS);
    // Our own clients put the deadline into a header, so the body need not be read.
    if stored
        .headers
        .deadline_ms
        .is_some_and(|deadline| !overdue(deadline))
    {
        return Ok(());
    }
    match stored.task(broker).await {
        Ok((task, _)) if overdue(task.deadline_ms) => {
            tracing::info!(task.id = task.task_id, "an overdue task was swept up");
            clear::time_out(broker, stored, &task).await
        }
        Ok(_) => Ok(()),
        Err(Unread::Never(_)) => clear::bury(broker, stored, "nobody could run it", 0).await,
        Err(Unread::NotNow(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use a3s_shared::broker::{Settings, TaskOptions};
    use a3s_shared::protocol::{
        Effect, Encoding, ExternalTask, Outcome, RetryPolicy, Route, SessionLane,
    };
    use a3s_testkit::Server;
    use serde_json::json;

    use super::*;

    async fn submit(broker: &Broker, id: &str, deadline_ms: u64) {
        let task = ExternalTask {
            task_id: id.to_owned(),
            session_id: "s".to_owned(),
            lane: SessionLane::Query,
            command_type: "read".to_owned(),
            payload: json!({}),
            timeout_ms: 1_000,
            deadline_ms,
        };
        let options = TaskOptions {
            effect: Effect::Idempotent,
            retry: RetryPolicy::default(),
            encoding: Encoding::Json,
            traceparent: None,
            workspace: None,
        };
        let route = Route::Pool("default".to_owned());
        broker
            .submit(&task, &route, &options)
            .await
            .expect("it is accepted");
    }

    #[tokio::test]
    async fn only_what_is_long_overdue_is_swept_and_it_gets_its_answer() {
        let server = Server::start().await;
        let broker = Broker::new(server.client().await, None, "a3s").expect("a valid prefix");
        broker
            .ensure(&Settings::default())
            .await
            .expect("the streams");
        let now = clock::now_ms();
        submit(&broker, "overdue", now - GRACE_MS - 1_000).await;
        submit(&broker, "late", now - 1_000).await;
        submit(&broker, "fresh", now + 60_000).await;
        let next = sweep(&broker, TaskStream::Pool, 1, 10)
            .await
            .expect("it sweeps");
        assert_eq!(next, 1, "it came to the end and begins anew");
        let left = broker.scan("A3S_TASKS", ">", 1).await.expect("the stream");
        let left: Vec<u64> = left.iter().map(|m| m.sequence).collect();
        assert_eq!(left, [2, 3]);
        let result = broker.result("s", "overdue").await.expect("an answer");
        assert_eq!(result.map(|r| r.outcome()), Some(Outcome::TimedOut));
        // Again, as after a crash: nothing changes.
        sweep(&broker, TaskStream::Pool, 1, 10)
            .await
            .expect("it sweeps");
    }
}
