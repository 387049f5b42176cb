//! The list of keys that count, and what each may do: a worker reads from it who may ask for what,
//! a coordinator whose results it believes. Pure: it is given the file's text.

use std::fmt;

use serde::Deserialize;

use super::key::{KeyError, public};
use crate::protocol::SessionLane;

/// What a key is trusted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// To ask for tasks; and to answer for workers, without success, when none of them does.
    #[default]
    Coordinator,
    /// To answer tasks.
    Worker,
}

/// The keys that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustList {
    keys: Vec<Entry>,
}

/// The file: `[[key]]` as often as there are keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Entry>,
}

/// One key. What is not said is allowed; a list that is empty allows nothing.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    name: Option<String>,
    #[serde(default)]
    role: Role,
    sessions: Option<Vec<Pattern>>,
    lanes: Option<Vec<SessionLane>>,
    tools: Option<Vec<Pattern>>,
}

/// A name, or the beginning of one and `*`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Pattern(String);

/// A trust list that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// It is no such file, or says what nobody knows.
    #[error("{0}")]
    Syntax(Box<toml::de::Error>),
    /// One of its keys is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody is trusted with what the list is for.
    #[error("it names no key with role = \"{0}\": nothing would be accepted; add a [[key]]")]
    Nobody(Role),
}

/// Why a task or a result does not count. Its text names the rule and the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// It has no signature.
    #[error("it is not signed")]
    Unsigned,
    /// The list has not this key, or not in this role.
    #[error("key {0} is not trusted as a {1}")]
    UnknownKey(String, Role),
    /// The signature is that of something else.
    #[error("the signature of key {0} does not fit: it was altered, or signed for something else")]
    Altered(String),
    /// The key's `sessions` have not this one.
    #[error("key {0} is not trusted with session {1}")]
    Session(String, String),
    /// The key's `lanes` have not this one.
    #[error("key {0} is not trusted with lane {1}")]
    Lane(String, SessionLane),
    /// The key's `tools` have not this one.
    #[error("key {0} is not trusted with tool {1:?}")]
    Tool(String, String),
    /// A coordinator's key says that a tool succeeded.
    #[error("key {0} is not trusted as a worker, and only a worker can say that a task succeeded")]
    Success(String),
    /// What lies in the place of a result makes no sense.
    #[error("it is no result")]
    NoResult,
    /// A result on the subject of another task.
    #[error("it is the result of task {0}")]
    Misplaced(String),
    /// The task that it answers is not the one that was published.
    #[error("it answers another task, or an earlier one of this id")]
    OtherTask,
}

impl TrustList {
    /// Reads a trust list. `role`: what it is for.
    ///
    /// # Errors
    /// [`TrustError`]: it says what nobody knows, or nobody in `role`.
    pub fn parse(text: &str, role: Role) -> Result<Self, TrustError> {
        let file: File = toml::from_str(text).map_err(|e| TrustError::Syntax(Box::new(e)))?;
        for entry in &file.key {
            public(&entry.key)?;
        }
        if !file.key.iter().any(|entry| entry.role == role) {
            return Err(TrustError::Nobody(role));
        }
        Ok(Self { keys: file.key })
    }

    /// Whether `key` is trusted as `role` with a tool on a lane of a session.
    ///
    /// # Errors
    /// [`Refusal`]: the first rule of the key's last entry that says no.
    pub fn permits(
        &self,
        role: Role,
        key: &str,
        session: &str,
        lane: SessionLane,
        tool: &str,
    ) -> Result<(), Refusal> {
        let mut answer = Err(Refusal::UnknownKey(key.to_owned(), role));
        for entry in self.keys.iter().filter(|e| e.key == key && e.role == role) {
            answer = entry.permits(session, lane, tool);
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Whether it names `key` in `role` at all.
    #[must_use]
    pub fn names(&self, role: Role, key: &str) -> bool {
        self.keys.iter().any(|e| e.key == key && e.role == role)
    }
}

impl Entry {
    fn permits(&self, session: &str, lane: SessionLane, tool: &str) -> Result<(), Refusal> {
        let who = || match &self.name {
            Some(name) => format!("{} ({name})", self.key),
            None => self.key.clone(),
        };
        if !any(self.sessions.as_deref(), session) {
            return Err(Refusal::Session(who(), session.to_owned()));
        }
        if self.lanes.as_ref().is_some_and(|l| !l.contains(&lane)) {
            return Err(Refusal::Lane(who(), lane));
        }
        if !any(self.tools.as_deref(), tool) {
            return Err(Refusal::Tool(who(), tool.to_owned()));
        }
        Ok(())
    }
}

fn any(patterns: Option<&[Pattern]>, name: &str) -> bool {
    patterns.is_none_or(|patterns| patterns.iter().any(|p| p.matches(name)))
}

impl Pattern {
    fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => self.0 == name,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let beginning = text.strip_suffix('*').unwrap_or(&text);
        if beginning.contains('*') {
            return Err(format!("{text:?}: a * may be at the end only"));
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    fn list(rules: &str) -> TrustList {
        let text = format!("[[key]]\nkey = \"{KEY}\"\nname = \"ci\"\n{rules}");
        TrustList::parse(&text, Role::Coordinator).expect("a trust list")
    }

    fn ask(list: &TrustList, session: &str, lane: SessionLane, tool: &str) -> Result<(), Refusal> {
        list.permits(Role::Coordinator, KEY, session, lane, tool)
    }

    #[test]
    fn what_is_not_said_is_allowed_and_an_empty_list_allows_nothing() {
        assert_eq!(ask(&list(""), "s", SessionLane::Execute, "bash"), Ok(()));
        let none = ask(&list("tools = []"), "s", SessionLane::Query, "read");
        assert!(matches!(none, Err(Refusal::Tool(..))), "{none:?}");
    }

    #[test]
    fn each_rule_is_kept_and_named() {
        let rules = "sessions = [\"ci-*\", \"a\"]\nlanes = [\"query\"]\ntools = [\"read\"]";
        let list = list(rules);
        let query = SessionLane::Query;
        assert_eq!(ask(&list, "ci-7", query, "read"), Ok(()));
        assert_eq!(ask(&list, "a", query, "read"), Ok(()));
        let refused = ask(&list, "ab", query, "read").expect_err("another session");
        let text = format!("key {KEY} (ci) is not trusted with session ab");
        assert_eq!(refused.to_string(), text);
        let lane = ask(&list, "a", SessionLane::Execute, "read");
        assert!(matches!(lane, Err(Refusal::Lane(..))), "{lane:?}");
        let tool = ask(&list, "a", query, "bash").expect_err("another tool");
        assert!(tool.to_string().ends_with("tool \"bash\""), "{tool}");
        let worker = list.permits(Role::Worker, KEY, "a", query, "read");
        assert!(matches!(worker, Err(Refusal::UnknownKey(..))));
    }

    #[test]
    fn one_of_several_entries_of_a_key_is_enough() {
        let more = format!("tools = [\"read\"]\n[[key]]\nkey = \"{KEY}\"\ntools = [\"l*\"]");
        let list = list(&more);
        assert_eq!(ask(&list, "s", SessionLane::Query, "ls"), Ok(()));
        assert_eq!(ask(&list, "s", SessionLane::Query, "read"), Ok(()));
        assert!(ask(&list, "s", SessionLane::Query, "grep").is_err());
    }

    #[test]
    fn a_list_that_would_not_do_what_it_seems_to_say_is_an_error() {
        let entry = format!("[[key]]\nkey = \"{KEY}\"\n");
        let bad = [
            String::new(),
            "[[key]]\nkey = \"UABC\"".to_owned(),
            format!("{entry}tool = [\"read\"]"),
            format!("{entry}sessions = [\"a*b\"]"),
            format!("{entry}lanes = [\"fast\"]"),
            format!("{entry}role = \"worker\""),
        ];
        for text in bad {
            assert!(
                TrustList::parse(&text, Role::Coordinator).is_err(),
                "{text}"
            );
        }
    }
}
