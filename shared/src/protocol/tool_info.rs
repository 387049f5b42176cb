//! What a worker says of its tools to whoever offers them further: an agent's model has to know
//! what a tool is for and what it takes. Asked for once, never part of a heartbeat.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Presence;

/// What is said of one tool. Everything may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolInfo {
    /// What it does and when to use it, in a few sentences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The JSON Schema of its payload; its `type` is `object`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// What a call may do to the world.
    #[serde(default, skip_serializing_if = "ToolHints::is_silent")]
    pub annotations: ToolHints,
}

/// Hints about a call's effect; `None` where nothing is said. Nothing is decided by them: whether
/// a task may be started again is its lane's and its caller's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolHints {
    /// It changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// It may remove or overwrite something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<bool>,
    /// The second of two equal calls changes nothing more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// It reaches beyond the worker's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_world: Option<bool>,
}

/// A worker's answer on its own subject: the heartbeat of the moment, and its tools.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Introduction {
    /// The heartbeat.
    #[serde(flatten)]
    pub presence: Presence,
    /// What is said of its tools, by name; tools of which nothing is said are missing.
    #[serde(default)]
    pub tool_info: BTreeMap<String, ToolInfo>,
}

impl ToolHints {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

impl ToolInfo {
    /// Whether nothing is said.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// What a heartbeat carries instead of `tools`: a text that is another one when they are other
/// ones. `None` when nothing is said of any tool.
#[must_use]
pub fn tool_digest(tools: &BTreeMap<String, ToolInfo>) -> Option<String> {
    if tools.is_empty() {
        return None;
    }
    let text = serde_json::to_vec(tools).unwrap_or_default();
    let digest = Sha256::digest(&text);
    Some(digest.iter().take(8).map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(text: &str) -> BTreeMap<String, ToolInfo> {
        let info = ToolInfo {
            description: Some(text.to_owned()),
            ..ToolInfo::default()
        };
        [("review".to_owned(), info)].into()
    }

    #[test]
    fn the_digest_follows_what_is_said() {
        assert_eq!(tool_digest(&BTreeMap::new()), None);
        let (one, other) = (tool_digest(&described("a")), tool_digest(&described("b")));
        assert_ne!(one, other);
        assert_eq!(one, tool_digest(&described("a")));
        assert_eq!(one.map(|text| text.len()), Some(16));
    }

    #[test]
    fn what_is_not_said_is_not_written() {
        let silent = serde_json::to_value(ToolInfo::default()).expect("is JSON");
        assert_eq!(silent, json!({}));
        let info: ToolInfo =
            serde_json::from_value(json!({"annotations": {"read_only": true}, "later": 1}))
                .expect("unknown fields are ignored");
        assert_eq!(info.annotations.read_only, Some(true));
    }
}
