//! `run_many`: a batch of calls in one. Each has its own end, told in the order of the calls; one
//! that fails does not end the others.

use std::time::Duration;

use a3s_shared::protocol::Outcome;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use rmcp::model::{CallToolResult, ContentBlock};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::call::{self, Call, Ended};
use super::door::Door;
use super::live::Teller;
use super::{answer, excerpt, own};

/// The most calls of a batch: what a model can overlook, and a client waits for.
pub(super) const MAX_CALLS: usize = 100;

/// What is shown of one call's output in any case, in bytes.
const LEAST_SHOWN: usize = 400;

/// The longest that a batch may be waited for.
const FOR_EVER: Duration = Duration::from_secs(86_400);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    calls: Vec<One>,
    wait_seconds: Option<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    /// Models confuse it with the protocol's own name of it.
    #[serde(alias = "name")]
    tool: String,
    #[serde(default)]
    arguments: Option<Value>,
}

/// Makes the calls and merges what they answer.
pub(super) async fn run(
    door: &Door,
    arguments: Value,
    mut teller: Option<Teller>,
    cancel: &CancellationToken,
) -> CallToolResult {
    let (calls, wait) = match read(door, arguments) {
        Ok(read) => read,
        Err(why) => return answer::error(why),
    };
    let running = calls.iter().enumerate();
    let mut running: FuturesUnordered<_> = running
        .map(|(at, call)| async move { (at, call::run(door, call, None, cancel).await) })
        .collect();
    let mut ended: Vec<Option<Ended>> = calls.iter().map(|_| None).collect();
    let until = Instant::now() + wait;
    let mut count = 0;
    loop {
        tokio::select! {
            biased;
            next = running.next() => match next {
                Some((at, end)) => ended[at] = Some(end),
                None => break,
            },
            () = sleep_until(until) => break,
        }
        count += 1;
        if let Some(teller) = &mut teller {
            teller.tell_count(count, calls.len()).await;
        }
    }
    drop(running);
    merge(&calls, ended, door.options.max_output)
}

fn read(door: &Door, arguments: Value) -> Result<(Vec<Call>, Duration), String> {
    let input: Input = serde_json::from_value(arguments).map_err(|e| {
        format!("run_many: {e}; it takes calls [{{tool, arguments}}], wait_seconds")
    })?;
    if !(1..=MAX_CALLS).contains(&input.calls.len()) {
        let count = input.calls.len();
        return Err(format!(
            "{count} calls: a batch has 1 to {MAX_CALLS}; make several batches"
        ));
    }
    for One { tool, .. } in &input.calls {
        if own::NAMES.contains(&&**tool) || door.catalog.tool(tool).is_none() {
            return Err(format!(
                "run_many cannot call {tool:?}: no tool of the workers has this name"
            ));
        }
    }
    let wait = input.wait_seconds.unwrap_or(f64::MAX);
    let wait = Duration::try_from_secs_f64(wait.max(0.0))
        .unwrap_or(FOR_EVER)
        .min(FOR_EVER);
    let calls = input.calls.into_iter().map(|one| {
        let arguments = one.arguments.unwrap_or_else(|| json!({}));
        Call::new(door, &one.tool, arguments)
    });
    Ok((calls.collect(), wait))
}

/// One answer out of all.
fn merge(calls: &[Call], ended: Vec<Option<Ended>>, max: usize) -> CallToolResult {
    let each = (max / calls.len().max(1)).max(LEAST_SHOWN);
    let all = calls.len();
    let told: Vec<Told> = calls
        .iter()
        .zip(ended)
        .map(|(call, end)| tell(call, end, each))
        .collect();
    let count = |status: &str| told.iter().filter(|one| one.status == status).count();
    let (done, open) = (count("completed"), count("running"));
    let failed = all - done - open;
    let mut text = format!("{done} of {all} calls completed, {failed} failed, {open} still run\n");
    let mut content = Vec::new();
    for (number, one) in told.iter().enumerate() {
        let (tool, status, id) = (&one.tool, one.status, &one.id);
        let number = number + 1;
        text.push_str(&format!(
            "\n--- {number} of {all}: {tool}, {status} (task {id})\n"
        ));
        text.push_str(&one.text);
    }
    content.push(ContentBlock::text(text));
    content.extend(told.iter().filter_map(|one| one.link.clone()));
    let structured = json!({
        "completed": done,
        "failed": failed,
        "running": open,
        "results": told.into_iter().map(|one| one.structured).collect::<Vec<_>>(),
    });
    // An error is a batch that was of no use at all; a part that failed is told as such.
    let mut merged = match done + open {
        0 => CallToolResult::error(content),
        _ => CallToolResult::success(content),
    };
    merged.structured_content = Some(structured);
    merged
}

/// One call of a batch, as it is told.
struct Told {
    tool: String,
    id: String,
    status: &'static str,
    text: String,
    link: Option<ContentBlock>,
    structured: Value,
}

fn tell(call: &Call, end: Option<Ended>, max: usize) -> Told {
    let (status, text, link, mut structured) = match end {
        Some(Ended::Result(result)) => {
            let whole = answer::text(&result, super::uri::DEFAULT_FIELD).unwrap_or_default();
            let (mut shown, left_out) = excerpt::ends(&whole, max);
            if let Some(complaint) = answer::complaint(&result) {
                shown = format!("{}\n{complaint}", shown.trim_end());
            }
            let link = answer::link(&result, whole.len());
            let link = (left_out > 0).then(|| ContentBlock::resource_link(link));
            let structured = json!({
                "output": shown,
                "exit_code": result.result["exit_code"],
                "error": result.error,
                "worker": result.worker_id,
            });
            (word(result.outcome()), shown, link, structured)
        }
        Some(Ended::Refused(why)) => ("refused", why.clone(), None, json!({ "error": why })),
        Some(Ended::Lost { why, .. }) => ("unknown", why.clone(), None, json!({ "error": why })),
        Some(Ended::Left) | None => {
            let text = format!("it goes on: fetch_result with task_id {}", call.id);
            ("running", text, None, json!({}))
        }
    };
    structured["tool"] = call.tool.clone().into();
    structured["task_id"] = call.id.clone().into();
    structured["status"] = status.into();
    Told {
        tool: call.tool.clone(),
        id: call.id.clone(),
        status,
        text: format!("{}\n", text.trim_end()),
        link,
        structured,
    }
}

/// An outcome in one word, as the wire has it.
pub(super) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::Cancelled => "cancelled",
        Outcome::Unknown => "unknown",
        Outcome::DeadLettered => "dead_lettered",
    }
}
