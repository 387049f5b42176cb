//! Which tools are offered: the door's, those of every worker, and those that present workers have
//! beside them. What a worker says of its tools is asked once, and again when it is another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use a3s_coordinator::Session;
use a3s_shared::broker::{Broker, Fleet};
use a3s_shared::protocol::{Presence, SessionLane, ToolHints, ToolInfo};
use futures::future::join_all;
use parking_lot::Mutex;
use rmcp::model::{Tool, ToolAnnotations};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{builtin, own};

/// How long a worker may take to say what its tools are; one that says nothing is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// The least time between two looks at the fleet: every heartbeat is a reason for one.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// When the fleet is looked at although nothing was heard: workers go silently, too.
const LOOK_AT_LEAST: Duration = Duration::from_secs(5);

/// The longest name that a client takes.
const MAX_NAME: usize = 128;

/// What workers said, by worker and digest.
type Said = HashMap<(String, String), Arc<BTreeMap<String, ToolInfo>>>;

/// The tools that are offered now. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    session: Session,
    only: Option<Arc<[String]>>,
    said: Arc<Mutex<Said>>,
    tools: Arc<watch::Sender<Vec<Tool>>>,
}

impl Catalog {
    /// Only with the tools that need no worker to be known.
    pub(super) fn new(session: Session, only: Option<Vec<String>>) -> Self {
        let only = only.map(Arc::from);
        let known = keep(known(), only.as_deref());
        Self {
            session,
            only,
            said: Arc::default(),
            tools: Arc::new(watch::Sender::new(known)),
        }
    }

    /// The tools, by name.
    pub(super) fn tools(&self) -> Vec<Tool> {
        self.tools.borrow().clone()
    }

    /// One of them.
    pub(super) fn tool(&self, name: &str) -> Option<Tool> {
        let tools = self.tools.borrow();
        tools.iter().find(|tool| tool.name == name).cloned()
    }

    /// Tells when the tools are other ones.
    pub(super) fn changes(&self) -> watch::Receiver<Vec<Tool>> {
        self.tools.subscribe()
    }

    /// Follows the fleet for ever.
    pub(super) async fn follow(self, broker: Broker, mut fleet: Fleet) {
        loop {
            let _ = timeout(LOOK_AT_LEAST, fleet.changed()).await;
            self.refresh(&broker, &fleet.workers()).await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Makes the tools those of `workers`.
    pub(super) async fn refresh(&self, broker: &Broker, workers: &[Presence]) {
        let asked = workers.iter().filter(|worker| self.is_unheard(worker));
        let answers = asked.map(|worker| self.ask(broker, worker));
        join_all(answers).await;
        let mut tools = known();
        tools.extend(self.described(workers));
        tools = keep(tools, self.only.as_deref());
        self.tools.send_if_modified(|now| {
            let other = *now != tools;
            *now = tools;
            other
        });
    }

    fn is_unheard(&self, worker: &Presence) -> bool {
        key(worker).is_some_and(|key| !self.said.lock().contains_key(&key))
    }

    async fn ask(&self, broker: &Broker, worker: &Presence) {
        let Some(key) = key(worker) else { return };
        let id = &worker.worker_id;
        match timeout(ANSWER_WITHIN, broker.introduction(id)).await {
            Ok(Ok(answer)) => drop(self.said.lock().insert(key, Arc::new(answer.tool_info))),
            Ok(Err(error)) => tracing::debug!(worker.id = id, %error, "its tools are not known"),
            Err(_) => tracing::debug!(worker.id = id, "does not say what its tools are"),
        }
    }

    /// The tools that workers have beside those of every worker, by name. Where two say different
    /// things of one, the worker whose id comes first is believed.
    fn described(&self, workers: &[Presence]) -> Vec<Tool> {
        let mut said = self.said.lock();
        let present: Vec<_> = workers.iter().filter_map(key).collect();
        said.retain(|key, _| present.contains(key));
        let mut found: BTreeMap<&str, ToolInfo> = BTreeMap::new();
        for worker in workers {
            let infos = key(worker).and_then(|key| said.get(&key).cloned());
            for name in worker
                .tools
                .iter()
                .filter(|name| self.is_taken(worker, name))
            {
                let info = infos.as_ref().and_then(|infos| infos.get(name));
                let entry = found.entry(name).or_default();
                if entry.is_silent() {
                    *entry = info.cloned().unwrap_or_default();
                }
            }
        }
        found
            .into_iter()
            .map(|(name, info)| tool(name, info))
            .collect()
    }

    /// Whether calls of a worker's tool reach it, and the tool is none that is known already.
    fn is_taken(&self, worker: &Presence, name: &str) -> bool {
        let lane = SessionLane::from_tool_name(name);
        worker.takes(self.session.id(), self.session.route(), lane)
            && is_name(name)
            && !builtin::HIDDEN.contains(&name)
            && !builtin::NAMES.contains(&name)
            && !own::NAMES.contains(&name)
    }
}

/// By which a worker's words are remembered; `None` when it says nothing.
fn key(worker: &Presence) -> Option<(String, String)> {
    let digest = worker.tool_digest.clone()?;
    Some((worker.worker_id.clone(), digest))
}

fn known() -> Vec<Tool> {
    let mut tools = builtin::tools();
    tools.extend(own::tools());
    tools
}

fn keep(mut tools: Vec<Tool>, only: Option<&[String]>) -> Vec<Tool> {
    if let Some(only) = only {
        tools.retain(|tool| only.iter().any(|name| *name == tool.name));
    }
    tools
}

/// Whether clients take a tool's name.
fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed)
}

/// A worker's tool as agents see it.
fn tool(name: &str, info: ToolInfo) -> Tool {
    let schema = info
        .input_schema
        .filter(|schema| schema["type"] == "object");
    let schema = schema.unwrap_or_else(|| json!({"type": "object"}));
    let description = info
        .description
        .unwrap_or_else(|| format!("The tool {name} of the workers; they say nothing of it."));
    Tool::new(name.to_owned(), description, builtin::object(schema))
        .with_annotations(annotations(info.annotations))
}

fn annotations(hints: ToolHints) -> ToolAnnotations {
    ToolAnnotations::from_raw(
        None,
        hints.read_only,
        hints.destructive,
        hints.idempotent,
        hints.open_world,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_described_tool_has_the_schema_that_its_worker_gave() {
        let info: ToolInfo = serde_json::from_value(json!({
            "description": "Shouts.",
            "input_schema": {"type": "object", "properties": {"text": {"type": "string"}}},
            "annotations": {"read_only": true},
        }))
        .expect("describes a tool");
        let tool = tool("shout", info);
        let schema = tool.schema_as_json_value();
        assert_eq!(schema["properties"]["text"]["type"], "string");
        assert_eq!(tool.description.as_deref(), Some("Shouts."));
        let annotations = tool.annotations.expect("annotations");
        assert_eq!(annotations.read_only_hint, Some(true));
        assert_eq!(annotations.destructive_hint, None);
    }

    #[test]
    fn a_tool_of_which_nothing_is_said_takes_any_object() {
        let tool = tool("shout", ToolInfo::default());
        assert_eq!(tool.schema_as_json_value(), json!({"type": "object"}));
    }

    #[test]
    fn names_that_no_client_takes_are_not_offered() {
        assert!(is_name("review.v2"));
        for bad in ["", "a b", "é", &"x".repeat(129)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn only_the_tools_that_were_asked_for_are_kept() {
        let only = ["read".to_owned(), "run_many".to_owned()];
        let names: Vec<_> = keep(known(), Some(&only))
            .into_iter()
            .map(|t| t.name)
            .collect();
        assert_eq!(names, ["read", "run_many"]);
    }
}
