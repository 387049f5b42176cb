//! The golden messages, `shared/fixtures`: the same that every language's own tests read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use a3s_shared::protocol::Encoding;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The largest integer below which all have a floating-point number of their own.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Deserialize)]
struct Index {
    messages: Vec<Message>,
    deliveries: Vec<Delivery>,
}

/// One body.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// What it is.
    #[serde(rename = "type")]
    pub of: String,
    /// Its bytes are in this file.
    pub file: String,
    /// How it is written.
    #[serde(deserialize_with = "encoding")]
    pub encoding: Encoding,
    /// The headers of the message.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// What it means; `None`: nothing, it cannot be read.
    #[serde(default)]
    pub value: Option<Value>,
}

/// A task as its stream holds it.
#[derive(Debug, Clone, Deserialize)]
pub struct Delivery {
    /// For the failure's text.
    pub name: String,
    /// Its stream.
    pub stream: String,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
    /// What it means; `None`: nothing, it cannot be read.
    #[serde(default)]
    pub task: Option<Value>,
    /// Whether its subject is that of no task.
    #[serde(default)]
    pub no_task: bool,
}

fn encoding<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Encoding, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map_err(serde::de::Error::custom)
}

impl Message {
    /// Its bytes.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn body(&self) -> Result<Vec<u8>> {
        read(&self.file)
    }

    /// The `Content-Type` of its encoding.
    #[must_use]
    pub fn content_type(&self) -> &'static str {
        self.encoding.content_type()
    }
}

impl Delivery {
    /// Whether it is a task for the workers that the suite starts.
    #[must_use]
    pub fn is_for_the_default_pool(&self) -> bool {
        let tokens = self.subject.split('.').count();
        self.stream == "A3S_TASKS" && tokens == 3 && !self.no_task
    }

    /// Whether it says when its time is over. In the fixtures that is always in the past.
    #[must_use]
    pub fn has_deadline(&self) -> bool {
        let deadline = self.headers.get("A3s-Deadline");
        deadline.is_some_and(|text| text.parse::<u64>().is_ok())
    }
}

/// The tasks among the golden messages, good and bad.
///
/// # Errors
/// When the index cannot be read.
pub fn tasks() -> Result<Vec<Message>> {
    let mut messages = index()?.messages;
    messages.retain(|message| message.of == "task");
    Ok(messages)
}

/// The deliveries.
///
/// # Errors
/// When the index cannot be read.
pub fn deliveries() -> Result<Vec<Delivery>> {
    Ok(index()?.deliveries)
}

/// Expects two values to be the same. A number beyond 2^53 may come back as the nearest double:
/// there are languages in which it can be nothing else.
///
/// # Errors
/// What differs first.
pub fn same(found: &Value, expected: &Value) -> Result<()> {
    match (found, expected) {
        (Value::Object(a), Value::Object(b)) => {
            ensure!(a.len() == b.len(), "{found} is not {expected}");
            for (name, value) in b {
                let found = a.get(name).unwrap_or(&Value::Null);
                same(found, value).with_context(|| format!("at {name}"))?;
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            ensure!(a.len() == b.len(), "{found} is not {expected}");
            for (found, expected) in a.iter().zip(b) {
                same(found, expected)?;
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let large = b.as_f64().is_some_and(|b| b.abs() >= EXACT);
            let equal = a == b || (large && a.as_f64() == b.as_f64());
            ensure!(equal, "{found} is not {expected}");
        }
        _ => ensure!(found == expected, "{found} is not {expected}"),
    }
    Ok(())
}

fn index() -> Result<Index> {
    serde_json::from_slice(&read("fixtures.json")?).context("fixtures.json is no index")
}

fn read(name: &str) -> Result<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures");
    let path = root.join(name);
    std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
