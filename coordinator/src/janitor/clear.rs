//! Settling a task on behalf of the workers: answer first, then remove, so that a crash in
//! between repeats the steps and never loses the task.

use a3s_shared::broker::{Broker, BrokerError, Stored, StoredTask, Unread};
use a3s_shared::protocol::{
    DeadLetter, ErrorKind, Event, EventKind, ExternalTask, TaskRecord, TaskResult, clock,
};
use serde_json::json;

/// Who answers, in results that no worker gave.
pub(crate) const JANITOR: &str = "janitor";

/// Keeps a task among the dead letters and gives its caller a failed result. A task that has its
/// result already (its acknowledgement was lost) is only removed.
pub(super) async fn bury(
    broker: &Broker,
    stored: &StoredTask,
    reason: &str,
    deliveries: u64,
) -> Result<(), BrokerError> {
    let (task, encoding) = match stored.task(broker).await {
        Ok(read) => read,
        Err(Unread::NotNow(error)) => return Err(error),
        Err(Unread::Never(unreadable)) => {
            let id = stored.fallback_id(broker);
            let error = format!("{reason}; it cannot be read either: {unreadable}");
            broker.bury(&stored.dead_letter(id, &error)).await?;
            return remove(broker, stored).await;
        }
    };
    if !broker.has_result(&task.session_id, &task.task_id).await? {
        let (record, _) = broker.record(&task.session_id, &task.task_id).await?;
        broker
            .bury(&letter(stored, &task, record, reason, deliveries))
            .await?;
        let error = format!("{reason}; kept among the dead letters");
        let result = result(&task, ErrorKind::DeadLettered, error);
        let answer = broker.publish_answer(&result, encoding, stored.signature());
        if answer.await? == Stored::First {
            tell(broker, EventKind::DeadLettered, &result);
        }
    }
    remove(broker, stored).await
}

/// Answers a task that is long past its deadline, and removes it.
pub(super) async fn time_out(
    broker: &Broker,
    stored: &StoredTask,
    task: &ExternalTask,
) -> Result<(), BrokerError> {
    let error = format!(
        "timed out: nobody finished it within its {} ms",
        task.timeout_ms
    );
    let result = result(task, ErrorKind::TimedOut, error);
    let encoding = stored.headers.encoding(&stored.body);
    let answer = broker.publish_answer(&result, encoding, stored.signature());
    if answer.await? == Stored::First {
        tell(broker, EventKind::Timeout, &result);
    }
    if let Some(blob) = &stored.headers.blob {
        broker.remove_blob(blob).await?;
    }
    remove(broker, stored).await
}

async fn remove(broker: &Broker, stored: &StoredTask) -> Result<(), BrokerError> {
    broker
        .remove(&stored.stream, stored.sequence)
        .await
        .map(drop)
}

fn letter(
    stored: &StoredTask,
    task: &ExternalTask,
    record: TaskRecord,
    reason: &str,
    deliveries: u64,
) -> DeadLetter {
    DeadLetter {
        command_type: task.command_type.clone(),
        attempts: record.attempt(deliveries),
        history: record.attempts,
        payload: task.payload.clone(),
        ..stored.dead_letter(task.task_id.clone(), reason)
    }
}

fn result(task: &ExternalTask, kind: ErrorKind, error: String) -> TaskResult {
    TaskResult {
        task_id: task.task_id.clone(),
        session_id: task.session_id.clone(),
        lane: task.lane,
        command_type: task.command_type.clone(),
        success: false,
        result: json!({}),
        error: Some(error),
        error_kind: Some(kind),
        attempt: 0,
        worker_id: JANITOR.to_owned(),
        started_at_ms: 0,
        duration_ms: 0,
    }
}

fn tell(broker: &Broker, kind: EventKind, result: &TaskResult) {
    broker.emit(&result.session_id, kind, || Event {
        task_id: Some(result.task_id.clone()),
        lane: Some(result.lane),
        command_type: Some(result.command_type.clone()),
        error: result.error.clone(),
        ..Event::of_session(kind, result.session_id.clone(), clock::now_ms())
    });
}
