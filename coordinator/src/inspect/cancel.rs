//! Ending tasks of a session from any process.
//!
//! The durable marker comes first: from then on no worker starts the task, and one that runs it
//! stops it and stores what it printed. A task that was never delivered is settled here at once,
//! and one whose worker says nothing is settled here too: the first result is the only one, so
//! whoever comes second changes nothing.

use std::collections::HashMap;
use std::time::Duration;

use a3s_shared::broker::{Accepted, Broker, BrokerError, ResultFeed, Stored};
use a3s_shared::protocol::{CancelMarker, ErrorKind, Event, EventKind, TaskResult, clock};
use futures::stream::{StreamExt, TryStreamExt, iter};
use serde_json::json;
use tokio::time::timeout;

use super::frontier::{Frontier, Place};
use super::tasks::Listed;

/// How long a worker has to answer for a cancelled task. It needs less than a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// How many tasks are marked or settled at a time.
const AT_A_TIME: usize = 32;

/// Who answers for tasks that no worker answers for.
const HERE: &str = "coordinator";

/// Ends `tasks`, all of `session`, and returns how each ended: cancelled, unless it had a result
/// already. Takes a little more than two seconds at most, unless the broker does not answer.
pub(crate) async fn cancel(
    broker: &Broker,
    session: &str,
    tasks: Vec<Listed>,
    reason: &str,
) -> Result<Vec<TaskResult>, BrokerError> {
    let mut feed = broker.subscribe_results(session).await?;
    let marks = iter(&tasks).map(Ok);
    marks
        .try_for_each_concurrent(AT_A_TIME, |task| mark(broker, task, reason))
        .await?;
    // Looked at after the marker is there: what was not delivered by now never starts.
    let mut frontier = Frontier::new(broker);
    let (mut queued, mut running) = (Vec::new(), HashMap::new());
    for task in tasks {
        let (address, sequence) = (&task.stored.address, task.stored.sequence);
        match frontier.place(address, sequence).await? {
            Place::Queued => queued.push(task),
            Place::Running => drop(running.insert(task.id.clone(), task)),
        }
    }
    let mut ended = settle_all(broker, queued, reason).await?;
    let answers = collect(&mut feed, &mut running, &mut ended);
    // What did not answer in time is settled next.
    let _ = timeout(ANSWER_WITHIN, answers).await;
    ended.extend(settle_all(broker, running.into_values().collect(), reason).await?);
    Ok(ended)
}

async fn mark(broker: &Broker, task: &Listed, reason: &str) -> Result<(), BrokerError> {
    let marker = CancelMarker {
        reason: reason.to_owned(),
        at_ms: clock::now_ms(),
    };
    let session = &task.stored.address.session;
    broker
        .cancel(session, &task.id, &marker, task.deadline_ms())
        .await
}

/// Moves tasks from `running` to `ended` as their results are stored.
async fn collect(
    feed: &mut ResultFeed,
    running: &mut HashMap<String, Listed>,
    ended: &mut Vec<TaskResult>,
) {
    while !running.is_empty() {
        let Some(result) = feed.next().await else {
            return;
        };
        if running.remove(&result.task_id).is_some() {
            ended.push(result);
        }
    }
}

async fn settle_all(
    broker: &Broker,
    tasks: Vec<Listed>,
    reason: &str,
) -> Result<Vec<TaskResult>, BrokerError> {
    let settled = iter(tasks).map(|task| async move { settle(broker, &task, reason).await });
    settled.buffer_unordered(AT_A_TIME).try_collect().await
}

/// Answers for a task; what is stored then is the outcome. The task itself goes last: a crash
/// before leaves it to a worker, which finds the result and only acknowledges.
async fn settle(broker: &Broker, task: &Listed, reason: &str) -> Result<TaskResult, BrokerError> {
    let own = cancelled(task, reason);
    let encoding = task.stored.headers.encoding(&task.stored.body);
    let answer = broker.publish_answer(&own, encoding, task.stored.signature());
    let outcome = match answer.await? {
        Stored::First => {
            tell(broker, &own);
            own
        }
        Stored::AlreadyThere => {
            let winner = broker.result(&own.session_id, &own.task_id).await?;
            winner.unwrap_or(own)
        }
    };
    let accepted = Accepted {
        stream: task.stored.stream.clone(),
        sequence: task.stored.sequence,
        duplicate: false,
        blob: task.stored.headers.blob.clone(),
    };
    match broker.remove_task(&accepted).await {
        // It stays until a worker gets it, which finds the marker and only acknowledges.
        Err(error) if error.is_denied() => Ok(outcome),
        removed => removed.map(|_| outcome),
    }
}

fn cancelled(task: &Listed, reason: &str) -> TaskResult {
    TaskResult {
        task_id: task.id.clone(),
        session_id: task.stored.address.session.clone(),
        lane: task.stored.address.lane,
        command_type: task.command_type().to_owned(),
        success: false,
        result: json!({}),
        error: Some(reason.to_owned()),
        error_kind: Some(ErrorKind::Cancelled),
        attempt: 0,
        worker_id: HERE.to_owned(),
        started_at_ms: clock::now_ms(),
        duration_ms: 0,
    }
}

fn tell(broker: &Broker, result: &TaskResult) {
    let (kind, session) = (EventKind::Failed, &result.session_id);
    broker.emit(session, kind, || Event {
        task_id: Some(result.task_id.clone()),
        lane: Some(result.lane),
        command_type: Some(result.command_type.clone()),
        worker_id: Some(result.worker_id.clone()),
        error: result.error.clone(),
        ..Event::of_session(kind, session.clone(), clock::now_ms())
    });
}
