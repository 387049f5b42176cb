//! What a client sees of a call's end: the tool's output as text, the tool's result as structured
//! content, and what was too long for a context as a link. Pure.

use a3s_shared::protocol::{Outcome, TaskResult};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, MetaObject, Resource};
use serde_json::{Value, json};

use super::call::Ended;
use super::excerpt;
use super::uri::{self, DEFAULT_FIELD};

/// Strings of a structured result that is too long are cut to this many bytes.
const SHORT_STRING: usize = 1_000;
/// And its lists to this many items.
const SHORT_LIST: usize = 50;

/// What a call ended with. At most about `max` bytes of text, and as much structured content.
pub(super) fn of(ended: Ended, session: &str, max: usize) -> CallToolResult {
    match ended {
        Ended::Result(result) => of_result(&result, max),
        Ended::Refused(why) => error(why),
        Ended::Lost { id, why } => {
            let text = format!(
                "unknown: {why}. The call had been started and may have had its effect; it is not \
                 started again. See what it changed before you repeat it. What becomes of it: \
                 fetch_result with task_id {id}"
            );
            let meta = meta([("a3s/task", json!(id)), ("a3s/session", json!(session))]);
            error(text).with_meta(Some(meta))
        }
        Ended::Left => error("this server is stopping; the call goes on, and fetch_result has it"),
    }
}

/// A failure that has no result.
pub(super) fn error(why: impl Into<String>) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(why)])
}

/// A result that was asked for by its id, or that a call ended with.
pub(super) fn of_result(result: &TaskResult, max: usize) -> CallToolResult {
    let whole = text(result, DEFAULT_FIELD).unwrap_or_default();
    let (mut shown, left_out) = excerpt::ends(&whole, max);
    if let Some(complaint) = complaint(result) {
        let gap = if shown.is_empty() || shown.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        shown = format!("{shown}{gap}{complaint}");
    }
    if left_out > 0 {
        shown.push_str(&format!(
            "\nThe rest: result_read with task_id {}, and offset and limit, or pattern",
            result.task_id
        ));
    }
    let mut content = vec![ContentBlock::text(shown)];
    content.extend(images(&result.result));
    if left_out > 0 {
        content.push(ContentBlock::resource_link(link(result, whole.len())));
    }
    let mut answer = match result.success {
        true => CallToolResult::success(content),
        false => CallToolResult::error(content),
    };
    answer.structured_content = Some(structured(&result.result, max));
    answer.with_meta(Some(told(result)))
}

/// A text of a result: its field of that name, or, where there is no output, all of it.
pub(super) fn text(result: &TaskResult, field: &str) -> Option<String> {
    match &result.result[field] {
        Value::String(text) => Some(text.clone()),
        Value::Null if field == DEFAULT_FIELD && is_nothing(&result.result) => Some(String::new()),
        Value::Null if field == DEFAULT_FIELD => serde_json::to_string_pretty(&result.result).ok(),
        _ => None,
    }
}

/// What became of a task that has no success.
pub(super) fn complaint(result: &TaskResult) -> Option<String> {
    let error = result.error.as_deref().unwrap_or("no reason is given");
    let id = &result.task_id;
    match result.outcome() {
        Outcome::Completed => None,
        Outcome::Failed => Some(format!("error: {error}")),
        Outcome::TimedOut => Some(format!("timed out: {error}")),
        Outcome::Cancelled => Some(format!("cancelled: {error}")),
        Outcome::Unknown => Some(format!(
            "unknown: {error}. It was started and may have had its effect; it is not started \
             again. See what it changed before you repeat it"
        )),
        Outcome::DeadLettered => Some(format!(
            "given up: {error}. `a3s-coordinator dlq show {id}` has all of it"
        )),
    }
}

/// A result as a resource.
pub(super) fn link(result: &TaskResult, bytes: usize) -> Resource {
    let (session, id) = (&result.session_id, &result.task_id);
    let description = format!("The whole output of {} (task {id})", result.command_type);
    Resource::new(
        uri::of(session, id),
        format!("{} {id}", result.command_type),
    )
    .with_description(description)
    .with_mime_type("text/plain")
    .with_size(u64::try_from(bytes).unwrap_or(u64::MAX))
}

/// What is said of a result beside it: under names of our own.
fn told(result: &TaskResult) -> MetaObject {
    meta([
        ("a3s/task", json!(result.task_id)),
        ("a3s/session", json!(result.session_id)),
        ("a3s/outcome", json!(result.outcome())),
        ("a3s/worker", json!(result.worker_id)),
        ("a3s/attempt", json!(result.attempt)),
        ("a3s/durationMs", json!(result.duration_ms)),
        (
            "a3s/result",
            json!(uri::of(&result.session_id, &result.task_id)),
        ),
    ])
}

fn meta<const N: usize>(entries: [(&str, Value); N]) -> MetaObject {
    let entries = entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    MetaObject(entries.collect::<JsonObject>())
}

/// Images that a tool answered, as `images: [{data, media_type}]` with base64.
fn images(result: &Value) -> Vec<ContentBlock> {
    let images = result["images"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let image = |image: &Value| {
        let kind = image["media_type"].as_str().unwrap_or("image/png");
        Some(ContentBlock::image(image["data"].as_str()?, kind))
    };
    images.iter().filter_map(image).collect()
}

/// A tool's result as structured content: whole, or with its long parts cut.
fn structured(result: &Value, max: usize) -> Value {
    let mut object = match result {
        Value::Object(_) => result.clone(),
        Value::Null => json!({}),
        other => json!({ "value": other }),
    };
    if let Some(fields) = object.as_object_mut() {
        // They are content of their own, and a client would get them twice.
        fields.remove("images");
    }
    if length(&object) <= max {
        return object;
    }
    let mut cut = shortened(&object);
    if length(&cut) > max
        && let Some(fields) = cut.as_object_mut()
    {
        fields.retain(|_, value| value.is_number() || value.is_boolean() || value.is_null());
    }
    cut["cut"] = true.into();
    cut
}

fn shortened(value: &Value) -> Value {
    match value {
        Value::String(text) => excerpt::ends(text, SHORT_STRING).0.into(),
        Value::Array(items) => items.iter().take(SHORT_LIST).map(shortened).collect(),
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, value)| (name.clone(), shortened(value)));
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn length(value: &Value) -> usize {
    serde_json::to_string(value).map_or(0, |text| text.len())
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(JsonObject::is_empty)
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::{ErrorKind, SessionLane};

    use super::*;

    fn result(success: bool, value: Value) -> TaskResult {
        TaskResult {
            task_id: "t1".into(),
            session_id: "s".into(),
            lane: SessionLane::Execute,
            command_type: "bash".into(),
            success,
            result: value,
            error: (!success).then(|| "exited with code 3".to_owned()),
            error_kind: None,
            attempt: 1,
            worker_id: "w".into(),
            started_at_ms: 1,
            duration_ms: 2,
        }
    }

    fn shown(answer: &CallToolResult) -> &str {
        let text = answer.content[0].as_text();
        text.map_or("", |text| &text.text)
    }

    #[test]
    fn a_command_that_failed_shows_its_output_and_its_exit_code() {
        let answer = of_result(
            &result(false, json!({"output": "oops\n", "exit_code": 3})),
            100,
        );
        assert_eq!(answer.is_error, Some(true));
        assert_eq!(shown(&answer), "oops\nerror: exited with code 3");
        let structured = answer.structured_content.expect("structured");
        assert_eq!(structured["exit_code"], 3);
        let meta = answer.meta.expect("is told");
        assert_eq!(meta.0["a3s/task"], "t1");
        assert_eq!(meta.0["a3s/outcome"], "failed");
    }

    #[test]
    fn what_is_too_long_is_cut_and_linked() {
        let output = "x\n".repeat(5_000);
        let answer = of_result(
            &result(true, json!({"output": output, "exit_code": 0})),
            1_000,
        );
        assert!(shown(&answer).len() < 1_300);
        assert!(shown(&answer).contains("result_read with task_id t1"));
        let link = answer.content[1].as_resource_link().expect("a link");
        assert_eq!((&*link.uri, link.size), ("a3s://result/s/t1", Some(10_000)));
        let structured = answer.structured_content.expect("structured");
        assert_eq!(
            (&structured["exit_code"], &structured["cut"]),
            (&json!(0), &json!(true))
        );
        assert!(length(&structured) <= 1_100);
    }

    #[test]
    fn a_tool_without_output_shows_its_result() {
        let answer = of_result(&result(true, json!({"answer": 42})), 100);
        assert_eq!(shown(&answer), "{\n  \"answer\": 42\n}");
        let answer = of_result(&result(true, json!([1])), 100);
        assert_eq!(answer.structured_content, Some(json!({"value": [1]})));
    }

    #[test]
    fn an_unknown_outcome_is_told_as_one() {
        let mut lost = result(false, json!({}));
        lost.error_kind = Some(ErrorKind::Unknown);
        let answer = of_result(&lost, 100);
        assert!(shown(&answer).starts_with("unknown: "));
        assert!(shown(&answer).contains("not started again"), "{answer:?}");
    }

    #[test]
    fn images_are_content_of_their_own() {
        let image = json!({"data": "QUJD", "media_type": "image/gif"});
        let answer = of_result(
            &result(true, json!({"output": "seen", "images": [image]})),
            100,
        );
        let image = answer.content[1].as_image().expect("an image");
        assert_eq!((&*image.data, &*image.mime_type), ("QUJD", "image/gif"));
        assert_eq!(answer.structured_content, Some(json!({"output": "seen"})));
    }
}
