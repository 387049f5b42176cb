//! Tasks as they are printed, for people and for programs. Pure, but for the printing itself.

use a3s_shared::protocol::{TaskResult, clock};
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::listing::{listing, short};
use crate::cli::moment::{ago, ahead};
use crate::cli::output::Output;
use crate::inspect::tasks::{Found, Listed};

/// Tasks for people: those that ended, then those that have not.
pub(super) fn table(listed: &[Listed], ended: &[TaskResult]) -> String {
    let now = clock::now_ms();
    let ended = ended.iter().map(|result| {
        let end = result.started_at_ms + result.duration_ms;
        [
            result.task_id.clone(),
            result.session_id.clone(),
            result.lane.id().to_owned(),
            result.command_type.clone(),
            result.outcome().to_string(),
            ago(end, now),
            short(result.error.as_deref().unwrap_or_default()),
        ]
    });
    let listed = listed.iter().map(|task| {
        [
            task.id.clone(),
            task.stored.address.session.clone(),
            task.stored.address.lane.id().to_owned(),
            task.command_type().to_owned(),
            task.place.word().to_owned(),
            ago(task.stored.stored_at_ms, now),
            format!("deadline {}", ahead(task.deadline_ms(), now)),
        ]
    });
    let header = ["id", "session", "lane", "type", "state", "since", ""];
    listing(header, ended.chain(listed))
}

/// Prints how a task ended.
pub(crate) async fn print_ended(
    output: &mut Output,
    result: &TaskResult,
    json: bool,
) -> Result<(), Failure> {
    match json {
        true => output.json(&ended_json(result)).await,
        false => output.line(&sentence(result)).await,
    }
}

/// How a task ended, in a line.
pub(super) fn sentence(result: &TaskResult) -> String {
    let (id, outcome) = (&result.task_id, result.outcome());
    match &result.error {
        Some(error) => format!("task {id} {outcome}: {}", short(error)),
        None => format!("task {id} {outcome}"),
    }
}

/// Where a task is, in a line.
pub(super) fn describe(id: &str, found: &Found) -> String {
    let session = &found.session;
    let now = clock::now_ms();
    let state = match (&found.result, &found.listed) {
        (Some(result), _) => {
            let by = format!("attempt {} on {}", result.attempt, result.worker_id);
            let error = result.error.as_deref().map(|e| format!(": {}", short(e)));
            format!("{} ({by}){}", result.outcome(), error.unwrap_or_default())
        }
        (None, Some(task)) => format!(
            "{}, deadline {}",
            match (&found.record.claim, task.place.word()) {
                (Some(claim), _) => format!("started once, by {}", claim.worker_id),
                (None, word) => format!("{word}, stored {}", ago(task.stored.stored_at_ms, now)),
            },
            ahead(task.deadline_ms(), now)
        ),
        (None, None) => "among the dead letters".to_owned(),
    };
    let marker = found
        .marker
        .as_ref()
        .map_or("", |_| "; it is to be cancelled");
    format!("task {id} of session {session}: {state}{marker}")
}

/// A result in a list: its state is how it ended.
pub(super) fn ended_json(result: &TaskResult) -> Value {
    let mut shown = json!(result);
    shown["outcome"] = json!(result.outcome());
    shown
}

/// A task that has not ended.
pub(super) fn listed_json(task: &Listed) -> Value {
    json!({
        "task_id": task.id,
        "session_id": task.stored.address.session,
        "lane": task.stored.address.lane,
        "route": task.stored.address.route,
        "command_type": task.command_type(),
        "state": task.place,
        "stored_at_ms": task.stored.stored_at_ms,
        "deadline_ms": task.deadline_ms(),
        "effect": task.stored.headers.effect_in(task.stored.address.lane),
        "max_attempts": task.stored.headers.retry_in(task.stored.address.lane).max_attempts(),
        "stream": task.stored.stream,
        "sequence": task.stored.sequence,
    })
}

/// All that is known of a task.
pub(super) fn found_json(id: &str, found: &Found) -> Value {
    let task = found.listed.as_ref().map(|task| {
        let mut shown = listed_json(task);
        shown["payload"] = json!(task.body.as_ref().map(|body| &body.payload));
        shown
    });
    json!({
        "task_id": id,
        "session_id": found.session,
        "task": task,
        "result": found.result.as_ref().map(ended_json),
        "claim": found.record.claim,
        "attempts": match &found.letter {
            Some(letter) => letter.history.clone(),
            None => found.record.attempts.clone(),
        },
        "cancel": found.marker,
        "dead_letter": found.letter,
    })
}
