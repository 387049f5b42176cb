//! What the model sees of each way a task can end.

use a3s_shared::protocol::SessionLane;

use super::*;

fn result(success: bool, kind: Option<ErrorKind>, result: Value) -> TaskResult {
    TaskResult {
        task_id: "t1".into(),
        session_id: "s".into(),
        lane: SessionLane::Execute,
        command_type: "bash".into(),
        success,
        result,
        error: (!success).then(|| "exited with code 3".to_owned()),
        error_kind: kind,
        attempt: 1,
        worker_id: "w1".into(),
        started_at_ms: 0,
        duration_ms: 40,
    }
}

fn told(success: bool, kind: Option<ErrorKind>, value: Value) -> Value {
    let answer = one("bash", Ok(result(success, kind, value)));
    assert!(answer.success, "{answer:?}");
    answer.result
}

#[test]
fn a_tool_that_failed_has_its_output_and_its_exit_code() {
    let told = told(false, None, json!({"output": "boom\n", "exit_code": 3}));
    assert_eq!(told["output"], "boom\n[exited with code 3]");
    assert_eq!(told["exit_code"], 3);
    assert_eq!(told["error_kind"], Value::Null);
    assert_eq!(told["metadata"]["fleet"]["worker_id"], "w1");
}

#[test]
fn a_failure_without_an_exit_code_is_not_exit_code_zero() {
    let told = told(false, None, json!({"output": ""}));
    assert_eq!(told["exit_code"], 1);
    assert_eq!(told["output"], "[exited with code 3]");
}

#[test]
fn a_timeout_keeps_what_was_printed_and_has_its_kind() {
    let told = told(false, Some(ErrorKind::TimedOut), json!({"output": "half"}));
    assert_eq!(
        told["output"],
        "half\n[timed out after 40 ms; above is what it printed until then]"
    );
    assert_eq!(told["exit_code"], 124);
    assert_eq!(
        told["error_kind"],
        json!({"type": "timeout", "op": "bash", "duration_ms": 40})
    );
}

#[test]
fn an_unknown_outcome_asks_to_look_first() {
    let told = told(false, Some(ErrorKind::Unknown), json!({}));
    let output = told["output"].as_str().expect("a text");
    assert!(output.contains("outcome unknown") && output.contains("not run again"));
    assert_ne!(told["exit_code"], 0);
}

#[test]
fn the_output_is_always_a_text() {
    for value in [
        json!(null),
        json!({"n": 1}),
        json!([1]),
        json!({"output": 3}),
    ] {
        let told = told(true, None, value);
        assert!(told["output"].is_string(), "{told}");
    }
}

#[test]
fn images_and_metadata_arrive_unchanged() {
    let image = json!({"data": "aGFsbG8=", "media_type": "image/png"});
    let value = json!({
        "output": "a picture", "metadata": {"bytes": 5},
        "images": [image, {"data": "?", "media_type": "image/png"}, "no image"],
    });
    let told = told(true, None, value);
    assert_eq!(told["images"], json!([image]));
    assert_eq!(told["metadata"]["bytes"], 5);
    let output = told["output"].as_str().expect("a text");
    assert!(output.starts_with("a picture\n[2 of 3 images"), "{output}");
}

#[test]
fn what_nobody_ran_is_said_and_not_given_back_to_be_done_again() {
    let letter = result(false, Some(ErrorKind::DeadLettered), json!({}));
    let answers = [
        one("bash", Ok(letter)),
        one("bash", Err("no worker".into())),
        abandoned("bash"),
        refused("nobody does this"),
    ];
    for answer in answers {
        assert!(answer.success, "the queue would repeat {answer:?}");
        assert_ne!(answer.result["exit_code"], 0);
        assert_ne!(answer.result["output"], "");
    }
}

#[test]
fn error_kinds_are_those_that_the_agent_reads() {
    let kinds = [
        (ErrorKind::InvalidInput, "invalid_argument"),
        (ErrorKind::UnknownCommand, "unsupported"),
        (ErrorKind::Refused, "unsupported"),
        (ErrorKind::Cancelled, "cancelled"),
    ];
    for (kind, tag) in kinds {
        let told = told(false, Some(kind), json!({}));
        assert_eq!(told["error_kind"]["type"], tag);
        let read: Result<ToolErrorKind, _> = serde_json::from_value(told["error_kind"].clone());
        assert!(read.is_ok(), "{told}");
    }
}

#[test]
fn many_answers_are_one_text_in_the_order_of_the_call() {
    let ends = vec![
        (
            "a.rs".to_owned(),
            Ok(result(true, None, json!({"output": "1 fn a"}))),
        ),
        ("b\n=== c ===".to_owned(), Err("no such worker".to_owned())),
    ];
    let answer = many("read", None, ends);
    let told = answer.result;
    assert_eq!(
        told["output"],
        "=== a.rs ===\n1 fn a\n\n=== b\\n=== c === ===\nno such worker\n\n"
    );
    assert_eq!(told["exit_code"], 0);
    assert_eq!(
        told["error_kind"],
        json!({"type": "partial_failure", "failed": 1, "total": 2})
    );
}

#[test]
fn a_long_answer_is_cut_at_a_character_and_says_so() {
    let ends = vec![(
        "a".to_owned(),
        Ok(result(true, None, json!({"output": "äöü".repeat(9)}))),
    )];
    let answer = many("read", Some(20), ends);
    let output = answer.result["output"].as_str().expect("a text").to_owned();
    assert!(output.starts_with("=== a ===\n"), "{output}");
    assert!(
        output.ends_with("read fewer files at a time]\n"),
        "{output}"
    );
}
