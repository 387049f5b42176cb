//! What the agent is told of a task's end. Pure.
//!
//! The agent's queue takes an object with a string `output`, an `exit_code`, and where they apply
//! `metadata`, `images` and a typed `error_kind`. Every answer is a success for the queue, whatever
//! happened: one without success it would throw away and have the call done again, three times,
//! whatever its configuration says. The exit code says what happened, and the output in words.

use a3s_code_core::ToolErrorKind;
use a3s_code_core::queue::ExternalTaskResult;
use a3s_coordinator::TaskError;
use a3s_shared::protocol::{ErrorKind, Outcome, TaskResult};
use base64::Engine as _;
use serde_json::{Map, Value, json};

/// The exit code of a tool that ran into its deadline, as `timeout` has it.
const TIMED_OUT: i32 = 124;
/// The exit code of a tool that was cancelled, as shells have it.
const CANCELLED: i32 = 130;
/// Bytes of the answers to a call that reads many files, as the agent has them by default.
const MANY_OUTPUT: usize = 64 * 1024;

/// What became of a task: a result, or a sentence why there is none.
pub(crate) type End = Result<TaskResult, String>;

/// The sentence of a task that has no result.
pub(crate) fn no_result(tool: &str, error: &TaskError) -> String {
    match error {
        TaskError::NoAnswer { .. } => format!(
            "nobody knows how this {tool} ended: the broker did not answer at its deadline. It may \
             have had its effect; look before you run it again"
        ),
        error => format!("this {tool} did not run: {error}"),
    }
}

/// The answer of a call that was not given to the fleet, because it cannot be done there.
pub(crate) fn refused(sentence: &str) -> ExternalTaskResult {
    let kind = ToolErrorKind::Unsupported {
        message: sentence.to_owned(),
    };
    ran(&Told {
        output: sentence.to_owned(),
        exit_code: 1,
        kind: Some(kind),
        ..Told::default()
    })
}

/// The answer of a call that never reached a worker, or of which nobody knows.
pub(crate) fn failed(tool: &str, sentence: impl Into<String>) -> ExternalTaskResult {
    let op = tool.to_owned();
    ran(&Told {
        output: sentence.into(),
        exit_code: 1,
        kind: Some(ToolErrorKind::Transport { op }),
        ..Told::default()
    })
}

/// The answer of a call that nobody waits for any more. It frees the call's place in its lane.
pub(crate) fn abandoned(tool: &str) -> ExternalTaskResult {
    let op = tool.to_owned();
    ran(&Told {
        output: "cancelled: nobody waited for it any more".to_owned(),
        exit_code: CANCELLED,
        kind: Some(ToolErrorKind::Cancelled { op }),
        ..Told::default()
    })
}

/// The answer of a call that was one task.
pub(crate) fn one(tool: &str, end: End) -> ExternalTaskResult {
    match end {
        Err(sentence) => failed(tool, sentence),
        Ok(result) => ran(&Told::of(tool, result)),
    }
}

/// The answer of a call that was many tasks, each with its title, in the order of the call.
pub(crate) fn many(
    tool: &str,
    max_output: Option<usize>,
    ends: Vec<(String, End)>,
) -> ExternalTaskResult {
    let total = ends.len();
    let mut output = Cut::new(max_output.unwrap_or(MANY_OUTPUT));
    let (mut failed, mut images, mut parts) = (0, Vec::new(), Vec::new());
    for (title, end) in ends {
        let told = match end {
            Ok(result) => Told::of(tool, result),
            Err(sentence) => Told {
                output: sentence,
                exit_code: 1,
                ..Told::default()
            },
        };
        failed += usize::from(told.exit_code != 0);
        // One line, whatever the file is called: a name cannot pass for another file's head.
        output.push(&format!("=== {} ===\n", title.escape_debug()));
        output.push(&told.output);
        output.push(if told.output.ends_with('\n') {
            "\n"
        } else {
            "\n\n"
        });
        images.extend(told.images);
        parts.push(told.fleet);
    }
    let kind = (failed > 0).then_some(ToolErrorKind::PartialFailure { failed, total });
    ran(&Told {
        output: output.text,
        exit_code: i32::from(failed == total),
        kind,
        images,
        metadata: Map::new(),
        fleet: Value::Array(parts),
    })
}

/// What is told of a tool that ran.
#[derive(Debug, Default)]
struct Told {
    output: String,
    exit_code: i32,
    kind: Option<ToolErrorKind>,
    images: Vec<Value>,
    /// The tool's own.
    metadata: Map<String, Value>,
    /// Who ran it.
    fleet: Value,
}

impl Told {
    fn of(tool: &str, mut result: TaskResult) -> Self {
        let outcome = result.outcome();
        let fleet = json!({
            "task_id": result.task_id,
            "worker_id": result.worker_id,
            "attempt": result.attempt,
            "duration_ms": result.duration_ms,
            "outcome": outcome,
        });
        let (exit_code, kind, word) = match outcome {
            Outcome::Completed => (0, None, None),
            _ => unsuccessful(tool, outcome, &result),
        };
        let (images, mut words) = images(&mut result.result);
        words.extend(word);
        let metadata = match result.result.get_mut("metadata").map(Value::take) {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        Self {
            output: with_words(text(result.result), &words),
            exit_code,
            kind,
            images,
            metadata,
            fleet,
        }
    }
}

fn unsuccessful(
    tool: &str,
    outcome: Outcome,
    result: &TaskResult,
) -> (i32, Option<ToolErrorKind>, Option<String>) {
    let (op, error) = (tool.to_owned(), result.error.clone());
    match outcome {
        Outcome::TimedOut => (
            TIMED_OUT,
            Some(ToolErrorKind::Timeout {
                op,
                duration_ms: result.duration_ms,
            }),
            Some(timed_out(result)),
        ),
        Outcome::Cancelled => (CANCELLED, Some(ToolErrorKind::Cancelled { op }), error),
        Outcome::Unknown => (1, None, Some(unknown(tool, result))),
        Outcome::DeadLettered => (1, None, Some(given_up(tool, result))),
        Outcome::Completed | Outcome::Failed => (exit_code(&result.result), kind_of(result), error),
    }
}

fn timed_out(result: &TaskResult) -> String {
    if result.attempt == 0 {
        let error = result.error.as_deref().unwrap_or("its time was over");
        return format!("not started: {error}");
    }
    format!(
        "timed out after {} ms; above is what it printed until then",
        result.duration_ms
    )
}

fn unknown(tool: &str, result: &TaskResult) -> String {
    let error = result.error.as_deref().unwrap_or("its worker died");
    format!(
        "outcome unknown: {error}. This {tool} was started and may have had its effect; it was not \
         run again. Look at what it was to change before you repeat it"
    )
}

fn given_up(tool: &str, result: &TaskResult) -> String {
    let error = result.error.as_deref().unwrap_or("no reason was told");
    format!(
        "this {tool} was given up after {} attempts: {error}",
        result.attempt
    )
}

/// The tool's exit code, where it has one that says failure.
fn exit_code(result: &Value) -> i32 {
    let code = result["exit_code"].as_i64();
    let code = code.and_then(|code| i32::try_from(code).ok());
    code.filter(|code| *code != 0).unwrap_or(1)
}

fn kind_of(result: &TaskResult) -> Option<ToolErrorKind> {
    let message = result.error.clone().unwrap_or_default();
    match result.error_kind? {
        ErrorKind::InvalidInput => Some(ToolErrorKind::InvalidArgument { message }),
        ErrorKind::UnknownCommand | ErrorKind::Refused => {
            Some(ToolErrorKind::Unsupported { message })
        }
        _ => None,
    }
}

/// What the tool says: its `output`, or all of its result where it has none.
fn text(mut result: Value) -> String {
    match result.get_mut("output").map(Value::take) {
        Some(Value::String(output)) => output,
        _ if result.is_null() => String::new(),
        _ => result.to_string(),
    }
}

fn with_words(mut output: String, words: &[String]) -> String {
    for word in words {
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        output.push_str(&format!("[{word}]"));
    }
    output
}

/// Takes the images out of a result. One that the agent could not read is said instead: it would
/// fail the whole call.
fn images(result: &mut Value) -> (Vec<Value>, Vec<String>) {
    let Some(Value::Array(given)) = result.get_mut("images").map(Value::take) else {
        return (Vec::new(), Vec::new());
    };
    let total = given.len();
    let images: Vec<Value> = given.into_iter().filter_map(image).collect();
    let lost = total - images.len();
    let word = format!(
        "{lost} of {total} images cannot be read: each needs data in base64 and a media_type"
    );
    (images, if lost > 0 { vec![word] } else { Vec::new() })
}

fn image(given: Value) -> Option<Value> {
    let (data, media_type) = (given["data"].as_str()?, given["media_type"].as_str()?);
    let readable = base64::engine::general_purpose::STANDARD
        .decode(data)
        .is_ok();
    readable.then(|| json!({ "data": data, "media_type": media_type }))
}

/// The one form that the agent's queue takes.
fn ran(told: &Told) -> ExternalTaskResult {
    let mut metadata = told.metadata.clone();
    if !told.fleet.is_null() {
        metadata.insert("fleet".to_owned(), told.fleet.clone());
    }
    ExternalTaskResult {
        success: true,
        result: json!({
            "output": told.output,
            "exit_code": told.exit_code,
            "metadata": metadata,
            "images": told.images,
            "error_kind": told.kind,
        }),
        error: None,
    }
}

/// Text that stops at a number of bytes and says so.
struct Cut {
    text: String,
    left: usize,
}

impl Cut {
    fn new(max: usize) -> Self {
        Self {
            text: String::new(),
            left: max,
        }
    }

    fn push(&mut self, part: &str) {
        if part.len() <= self.left {
            self.left -= part.len();
            self.text.push_str(part);
        } else if self.left > 0 {
            let end = (0..=self.left)
                .rev()
                .find(|end| part.is_char_boundary(*end));
            self.text.push_str(&part[..end.unwrap_or(0)]);
            self.text
                .push_str("\n[cut here: read fewer files at a time]\n");
            self.left = 0;
        }
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
