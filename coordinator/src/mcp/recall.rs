//! The tools and resources by which a client gets at earlier calls: fetches what became of one, reads a
//! part of a long result, ends one that runs.

use std::time::Duration;

use a3s_shared::protocol::{SessionLane, clock};
use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::excerpt::{self, Part, Shown};
use super::stored::{Found, end, find, known, wait_for};
use super::uri::{self, DEFAULT_FIELD};
use super::{answer, many};
use crate::inspect::tasks::Listed;

/// The longest that a client waits in one request.
pub(super) const MAX_WAIT_SECONDS: u32 = 300;

/// How many calls are listed.
const LISTED: usize = 20;

/// The most of a result that one read of a resource gives, in bytes.
const MAX_READ: usize = 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fetch {
    task_id: Option<String>,
    wait_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Read {
    task_id: String,
    field: Option<String>,
    #[serde(flatten)]
    part: Part,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    task_id: String,
}

/// `fetch_result`.
pub(super) async fn fetch(
    door: &Door,
    arguments: Value,
    cancel: &CancellationToken,
) -> CallToolResult {
    let fetched: Result<CallToolResult, String> = async {
        let input: Fetch = input(arguments, "task_id, wait_seconds")?;
        let Some(id) = input.task_id else {
            return list(door).await;
        };
        let wait = input
            .wait_seconds
            .unwrap_or(0.0)
            .clamp(0.0, f64::from(MAX_WAIT_SECONDS));
        let waited = wait_for(door, &id, Duration::from_secs_f64(wait));
        let found = tokio::select! {
            found = waited => found?,
            () = cancel.cancelled() => return Err("cancelled".to_owned()),
            () = door.leaving.cancelled() => return Err("this server is stopping".to_owned()),
        };
        Ok(match found {
            Found::Ended(result) => answer::of_result(&result, door.options.max_output),
            Found::Open(task) => open(&task),
            Found::Nowhere => return Err(nowhere(door, &id)),
        })
    }
    .await;
    fetched.unwrap_or_else(answer::error)
}

/// `result_read`.
pub(super) async fn read(door: &Door, arguments: Value) -> CallToolResult {
    let read: Result<CallToolResult, String> = async {
        let input: Read = input(arguments, "task_id, field, offset, limit, pattern")?;
        let field = input.field.as_deref().unwrap_or(DEFAULT_FIELD);
        let shown = part(
            door,
            &input.task_id,
            field,
            &input.part,
            door.options.max_output,
        )
        .await?;
        let mut answer = CallToolResult::success(vec![ContentBlock::text(with_note(&shown))]);
        answer.structured_content = Some(json!({
            "text": shown.text,
            "total_lines": shown.lines,
            "next_offset": shown.next,
        }));
        Ok(answer)
    }
    .await;
    read.unwrap_or_else(answer::error)
}

/// `cancel_task`.
pub(super) async fn cancel(door: &Door, arguments: Value) -> CallToolResult {
    let cancelled: Result<CallToolResult, String> = async {
        let input: Cancel = input(arguments, "task_id")?;
        match end(door, &input.task_id).await? {
            Found::Ended(result) => {
                let (id, outcome) = (&result.task_id, result.outcome());
                let mut told = answer::of_result(&result, door.options.max_output);
                // What was asked for is done, whatever the task's own outcome is.
                told.is_error = Some(false);
                let text = format!("task {id} has ended: {outcome}");
                told.content.insert(0, ContentBlock::text(text));
                Ok(told)
            }
            Found::Open(task) => Ok(open(&task)),
            Found::Nowhere => Err(nowhere(door, &input.task_id)),
        }
    }
    .await;
    cancelled.unwrap_or_else(answer::error)
}

/// A part of a result, by the name of a resource.
///
/// # Errors
/// A sentence: the name is none, or names nothing of this session.
pub(super) async fn resource(door: &Door, name: &str) -> Result<String, String> {
    let wanted = uri::parse(name)?;
    if wanted.session != door.session.id() {
        let (other, ours) = (wanted.session, door.session.id());
        return Err(format!(
            "{name} is of session {other}; this server reads those of {ours}"
        ));
    }
    let shown = part(door, &wanted.task, &wanted.field, &wanted.part, MAX_READ).await?;
    Ok(with_note(&shown))
}

/// The newest results, as resources.
///
/// # Errors
/// When the broker does not list them in time.
pub(super) async fn resources(door: &Door) -> Result<Vec<Resource>, String> {
    let (_, ended) = known(door).await?;
    let newest = ended.iter().rev().take(LISTED);
    let linked = newest.map(|result| {
        let text = answer::text(result, DEFAULT_FIELD).unwrap_or_default();
        answer::link(result, text.len())
    });
    Ok(linked.collect())
}

async fn part(
    door: &Door,
    id: &str,
    field: &str,
    wanted: &Part,
    max: usize,
) -> Result<Shown, String> {
    let result = match find(door, id).await? {
        Found::Ended(result) => result,
        Found::Open(_) => {
            return Err(format!(
                "task {id} has no result yet; fetch_result waits for it"
            ));
        }
        Found::Nowhere => return Err(nowhere(door, id)),
    };
    let text = answer::text(&result, field);
    let text = text.ok_or_else(|| format!("the result of task {id} has no text {field:?}"))?;
    excerpt::part(&text, wanted, max)
}

/// The text, and how to go on.
fn with_note(shown: &Shown) -> String {
    match shown.next {
        None => shown.text.clone(),
        Some(next) => format!(
            "{}[... of {} lines; go on with offset {next} ...]\n",
            shown.text, shown.lines
        ),
    }
}

async fn list(door: &Door) -> Result<CallToolResult, String> {
    let (open, ended) = known(door).await?;
    let now = clock::now_ms();
    let seconds = |at_ms: u64| now.saturating_sub(at_ms) / 1_000;
    let (mut lines, mut structured) = (Vec::new(), Vec::new());
    let mut tell = |id: &str, tool: &str, status: &str, lane: SessionLane, ago: u64| {
        lines.push(format!("{id}  {status:<10}  {tool}  {ago} s ago"));
        structured.push(json!({
            "task_id": id, "tool": tool, "status": status, "lane": lane.id(), "seconds_ago": ago,
        }));
    };
    for task in &open {
        let (lane, ago) = (task.stored.address.lane, seconds(task.stored.stored_at_ms));
        tell(&task.id, task.command_type(), task.place.word(), lane, ago);
    }
    for result in ended.iter().rev().take(LISTED) {
        let ago = seconds(result.started_at_ms + result.duration_ms);
        let status = many::word(result.outcome());
        tell(
            &result.task_id,
            &result.command_type,
            status,
            result.lane,
            ago,
        );
    }
    let session = door.session.id();
    let text = match lines.is_empty() {
        true => format!("session {session} has no calls"),
        false => lines.join("\n"),
    };
    let mut answer = CallToolResult::success(vec![ContentBlock::text(text)]);
    answer.structured_content = Some(json!({ "session": session, "tasks": structured }));
    Ok(answer)
}

/// A call that has no result yet.
fn open(task: &Listed) -> CallToolResult {
    let (id, tool, place) = (&task.id, task.command_type(), task.place.word());
    let text = format!("task {id} ({tool}) is {place}; ask again, with wait_seconds");
    let mut answer = CallToolResult::success(vec![ContentBlock::text(text)]);
    answer.structured_content = Some(json!({"task_id": id, "tool": tool, "status": place}));
    answer
}

fn nowhere(door: &Door, id: &str) -> String {
    let session = door.session.id();
    format!(
        "session {session} has no task {id}: results are kept for a day; fetch_result without task_id lists what there is"
    )
}

fn input<T: DeserializeOwned>(arguments: Value, fields: &str) -> Result<T, String> {
    serde_json::from_value(arguments).map_err(|e| format!("{e}; it takes {fields}"))
}
