//! What a worker makes of subject, headers and body: the golden messages of `shared/fixtures`, and
//! what a stranger types.

use a3s_shared::protocol::{ErrorKind, Outcome, SessionLane, TaskResult};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cases;
use crate::fixtures::{self, Delivery, Message};
use crate::rig::Rig;
use crate::task::Task;

cases! { "decoding":
    Basic Ready a_task_needs_nothing_but_its_command_type
    Basic Ready a_payload_comes_back_as_it_was_sent
    Basic Ready headers_that_nobody_knows_change_nothing
    Full Ready every_golden_task_is_understood
    Full Ready every_value_survives_both_encodings
    Full Ready headers_and_body_are_understood_together
}

async fn a_task_needs_nothing_but_its_command_type(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let body = r#"{"command_type":"echo"}"#;
    let sequence = rig.publish("a3s.demo.query", &[], body).await?;
    let result = rig.result_of("demo", &format!("t{sequence}")).await?;
    ensure!(result.outcome() == Outcome::Completed, "{result:?}");
    ensure!(
        result.lane == SessionLane::Query && result.session_id == "demo",
        "{result:?}"
    );
    ensure!(result.result.is_null(), "no payload is null: {result:?}");
    rig.nothing_is_left().await
}

async fn a_payload_comes_back_as_it_was_sent(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let payload =
        json!({ "text": "a {{ template }} 'and' \"quotes\" \\ žluť 🦀", "list": [1, null] });
    let id = rig.submit(Task::new("echo", payload.clone())).await?;
    let result = rig.ends(&id, Outcome::Completed).await?;
    ensure!(result.result == payload, "{}", result.result);
    rig.nothing_is_left().await
}

async fn headers_that_nobody_knows_change_nothing(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        ("traceparent", trace),
        ("tracestate", "vendor=1"),
        ("X-Whatever", "x"),
        ("A3s-Next", "9"),
    ];
    let body = r#"{"command_type":"echo","payload":{"n":1}}"#;
    let sequence = rig.publish("a3s.demo.query", &headers, body).await?;
    let result = rig.result_of("demo", &format!("t{sequence}")).await?;
    ensure!(result.outcome() == Outcome::Completed, "{result:?}");
    rig.nothing_is_left().await
}

async fn every_golden_task_is_understood(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for message in fixtures::tasks()? {
        if let Some(expected) = &message.value {
            let result = golden(rig, &message, expected).await;
            result.with_context(|| message.file.clone())?;
        }
    }
    rig.nothing_is_left().await
}

/// Publishes a golden task and checks who the worker says it was. Most tools of the fixtures are
/// not those of the suite, and the answer that they are not known says all that is to be checked
/// here.
async fn golden(rig: &Rig, message: &Message, expected: &Value) -> Result<()> {
    let mut headers = vec![("Content-Type", message.content_type())];
    // Not the deadline, which is over, and not the id, because all fixtures have the same.
    let kept = [
        "A3s-Effect",
        "A3s-Max-Attempts",
        "A3s-Reply-To",
        "A3s-Retry-Delay",
        "traceparent",
    ];
    let named = message
        .headers
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()));
    headers.extend(named.filter(|(name, _)| kept.contains(name)));
    let lane = expected["lane"].as_str().unwrap_or("Query");
    let subject = format!("a3s.demo.{}", lane.to_lowercase());
    let sequence = rig.publish(&subject, &headers, message.body()?).await?;
    let id = match expected["task_id"].as_str() {
        Some(id) => id.to_owned(),
        None => format!("t{sequence}"),
    };
    let result = rig.result_of("demo", &id).await?;
    if expected["command_type"] == "echo" {
        ensure!(result.result == expected["payload"], "{result:?}");
    } else {
        expect_named(&result, &expected["command_type"])?;
    }
    // The next one may have the same id.
    rig.nothing_is_left().await?;
    rig.broker.forget_result("demo", &id).await?;
    Ok(())
}

fn expect_named(result: &TaskResult, command: &Value) -> Result<()> {
    ensure!(
        result.error_kind == Some(ErrorKind::UnknownCommand),
        "{result:?}"
    );
    ensure!(command == &json!(result.command_type), "{result:?}");
    Ok(())
}

async fn every_value_survives_both_encodings(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for message in fixtures::tasks()? {
        let Some(value) = message
            .value
            .filter(|_| message.file.starts_with("task_values"))
        else {
            continue;
        };
        let payload = value["payload"].clone();
        let task = Task {
            encoding: message.encoding,
            ..Task::new("echo", payload.clone())
        };
        let result = rig
            .ends(&rig.submit(task).await?, Outcome::Completed)
            .await?;
        let same = fixtures::same(&result.result, &payload);
        same.with_context(|| message.file.clone())?;
    }
    Ok(())
}

async fn headers_and_body_are_understood_together(rig: &mut Rig) -> Result<()> {
    rig.worker().await?;
    for delivery in fixtures::deliveries()? {
        if delivery.is_for_the_default_pool() {
            let understood = understood(rig, &delivery).await;
            understood.with_context(|| delivery.name.clone())?;
        }
    }
    rig.nothing_is_left().await
}

async fn understood(rig: &Rig, delivery: &Delivery) -> Result<()> {
    let headers = delivery.headers.iter();
    let headers: Vec<_> = headers.map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let body = delivery.body.clone();
    let sequence = rig.publish(&delivery.subject, &headers, body).await?;
    let made = format!("t{sequence}");
    let Some(task) = &delivery.task else {
        // Malformed: known by what is known without the body.
        let result = rig.result_of("demo", &made).await?;
        ensure!(result.outcome() == Outcome::DeadLettered, "{result:?}");
        return Ok(());
    };
    let id = match task["task_id"].as_str() {
        Some("t7") | None => made,
        Some(id) => id.to_owned(),
    };
    let result = rig.result_of("demo", &id).await?;
    ensure!(json!(result.lane) == task["lane"], "{result:?}");
    if delivery.has_deadline() {
        ensure!(
            result.outcome() == Outcome::TimedOut,
            "its deadline is over: {result:?}"
        );
        return Ok(());
    }
    expect_named(&result, &task["command_type"])
}
