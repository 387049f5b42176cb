//! The four priority lanes of a session.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Effect;

/// A priority lane. Lower [`priority`](SessionLane::priority) runs first.
///
/// In JSON and MessagePack a lane is written `"Query"`; `"query"` is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionLane {
    /// Pause, resume, cancel. Priority 0.
    Control,
    /// Reads without side effects: read, glob, ls, grep. Priority 1.
    Query,
    /// Commands and writes: bash, write, edit. Priority 2.
    Execute,
    /// Calls of a language model. Priority 3.
    Generate,
}

impl SessionLane {
    /// All lanes, highest priority first.
    pub const ALL: [Self; 4] = [Self::Control, Self::Query, Self::Execute, Self::Generate];

    /// 0 (runs first) to 3.
    #[must_use]
    pub const fn priority(self) -> u8 {
        self as u8
    }

    /// The lane's index in arrays of four, highest priority first.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The lane's token in subjects: `control`, `query`, `execute` or `generate`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Query => "query",
            Self::Execute => "execute",
            Self::Generate => "generate",
        }
    }

    /// The name in JSON and MessagePack: `Control`, `Query`, `Execute` or `Generate`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "Control",
            Self::Query => "Query",
            Self::Execute => "Execute",
            Self::Generate => "Generate",
        }
    }

    /// How many tasks of one session may be queued or running in the lane, unless configured.
    #[must_use]
    pub const fn default_max_concurrency(self) -> usize {
        match self {
            Self::Control | Self::Execute => 2,
            Self::Query => 4,
            Self::Generate => 1,
        }
    }

    /// Whether a task of this lane may be started again after a crash, unless it says so itself.
    #[must_use]
    pub const fn default_effect(self) -> Effect {
        match self {
            Self::Control | Self::Query => Effect::Idempotent,
            Self::Execute | Self::Generate => Effect::Once,
        }
    }

    /// The lane a tool's tasks go to. Unknown names go to `Execute`, the careful choice.
    #[must_use]
    pub fn from_tool_name(tool: &str) -> Self {
        match tool {
            "read" | "glob" | "ls" | "grep" | "list_files" | "search" | "web_fetch"
            | "web_search" => Self::Query,
            _ => Self::Execute,
        }
    }
}

impl fmt::Display for SessionLane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A lane name that is none of the four.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown lane {0:?}: use control, query, execute or generate")]
pub struct UnknownLane(String);

impl FromStr for SessionLane {
    type Err = UnknownLane;

    fn from_str(text: &str) -> Result<Self, UnknownLane> {
        Self::ALL
            .into_iter()
            .find(|lane| text == lane.id() || text == lane.name())
            .ok_or_else(|| UnknownLane(text.to_owned()))
    }
}

impl Serialize for SessionLane {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for SessionLane {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_casings_are_read_and_one_is_written() {
        for lane in SessionLane::ALL {
            assert_eq!(lane.id().parse(), Ok(lane));
            assert_eq!(lane.name().parse(), Ok(lane));
            assert_eq!(
                serde_json::to_string(&lane).expect("lane"),
                format!("\"{}\"", lane.name())
            );
        }
        let error = "fast".parse::<SessionLane>().expect_err("no such lane");
        assert_eq!(
            error.to_string(),
            "unknown lane \"fast\": use control, query, execute or generate"
        );
    }

    #[test]
    fn unknown_tools_go_to_execute() {
        assert_eq!(SessionLane::from_tool_name("grep"), SessionLane::Query);
        assert_eq!(SessionLane::from_tool_name("bash"), SessionLane::Execute);
        assert_eq!(SessionLane::from_tool_name("my_tool"), SessionLane::Execute);
    }
}
