//! Which tools the agent may use while lanes go to the fleet.
//!
//! A call in a lane that is External must be one that workers do: the model is not shown any
//! other, and one that comes all the same is denied. The tools that call tools themselves run
//! what they call in this process, past the lanes, so they are denied while any lane is External.

use std::sync::Arc;

use a3s_code_core::permissions::{PermissionChecker, PermissionDecision};
use a3s_code_core::queue::{SessionLane, TaskHandlerMode};
use serde_json::Value;

use crate::lanes::Handlers;
use crate::request::TOOLS;

/// Tools that call other tools, in this process.
const NESTING: [&str; 6] = [
    "Skill",
    "batch",
    "dynamic_workflow",
    "parallel_task",
    "program",
    "task",
];

/// Where a tool's calls are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// By the agent's own process.
    Here,
    /// By workers.
    Fleet,
    /// Nowhere, as the lanes are now.
    Nowhere,
}

/// Decides where calls are done. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    handlers: Handlers,
    /// Tools of the user's own that the workers have.
    own: Arc<[String]>,
}

impl Places {
    pub(crate) fn new(handlers: Handlers, own: impl IntoIterator<Item = String>) -> Self {
        Self {
            handlers,
            own: own.into_iter().collect(),
        }
    }

    pub(crate) fn of(&self, tool: &str) -> Place {
        let lane = SessionLane::from_tool_name(tool);
        let external = self.handlers.mode(lane) == TaskHandlerMode::External;
        if external && self.is_on_workers(tool) {
            Place::Fleet
        } else if external || (NESTING.contains(&tool) && self.handlers.any_external()) {
            Place::Nowhere
        } else {
            Place::Here
        }
    }

    fn is_on_workers(&self, tool: &str) -> bool {
        TOOLS.contains(&tool) || self.own.iter().any(|own| own == tool)
    }
}

/// The agent's permissions: the places first, then what its host says.
pub(crate) struct Gate {
    places: Places,
    host: Option<Arc<dyn PermissionChecker>>,
}

impl Gate {
    pub(crate) fn new(places: Places, host: Option<Arc<dyn PermissionChecker>>) -> Self {
        Self { places, host }
    }
}

impl PermissionChecker for Gate {
    fn snapshot_for_run(&self) -> Option<Arc<dyn PermissionChecker>> {
        let host = self.host.as_ref()?.snapshot_for_run()?;
        Some(Arc::new(Self::new(self.places.clone(), Some(host))))
    }

    fn expose_to_model(&self, tool: &str) -> bool {
        let hidden = |host: &Arc<dyn PermissionChecker>| !host.expose_to_model(tool);
        self.places.of(tool) != Place::Nowhere && !self.host.as_ref().is_some_and(hidden)
    }

    /// Without a word of the host, calls that the fleet does are allowed: attaching it is the
    /// consent. Others are asked for, as without a fleet.
    fn check(&self, tool: &str, args: &Value) -> PermissionDecision {
        match (self.places.of(tool), &self.host) {
            (Place::Nowhere, _) => PermissionDecision::Deny,
            (_, Some(host)) => host.check(tool, args),
            (Place::Fleet, None) => PermissionDecision::Allow,
            (Place::Here, None) => PermissionDecision::Ask,
        }
    }
}

#[cfg(test)]
mod tests {
    use a3s_code_core::permissions::PermissionPolicy;
    use a3s_code_core::queue::LaneHandlerConfig;
    use serde_json::json;

    use super::*;

    fn places(query: TaskHandlerMode, execute: TaskHandlerMode) -> Places {
        let mode = |mode| LaneHandlerConfig {
            mode,
            timeout_ms: 1_000,
        };
        let internal = mode(TaskHandlerMode::Internal);
        let handlers = [internal.clone(), mode(query), mode(execute), internal];
        Places::new(Handlers::new(handlers), ["review".to_owned()])
    }

    #[test]
    fn calls_are_done_where_their_lane_says() {
        use TaskHandlerMode::{External, Hybrid, Internal};
        let cases = [
            ("read", Internal, Internal, Place::Here),
            ("read", External, Internal, Place::Fleet),
            ("read", Hybrid, External, Place::Here),
            ("bash", External, Internal, Place::Here),
            ("bash", Internal, External, Place::Fleet),
            ("review", Internal, External, Place::Fleet),
        ];
        for (tool, query, execute, place) in cases {
            assert_eq!(places(query, execute).of(tool), place, "{tool}");
        }
    }

    #[test]
    fn tools_that_only_this_process_has_are_denied_in_a_lane_that_leaves_it() {
        use TaskHandlerMode::{External, Internal};
        let gate = Gate::new(places(External, External), None);
        for tool in [
            "task",
            "batch",
            "program",
            "Skill",
            "git",
            "patch",
            "web_fetch",
            "no_such",
        ] {
            assert!(!gate.expose_to_model(tool), "{tool}");
            assert_eq!(gate.check(tool, &json!({})), PermissionDecision::Deny);
        }
        let local = Gate::new(places(Internal, Internal), None);
        assert!(local.expose_to_model("task"));
        assert_eq!(local.check("task", &json!({})), PermissionDecision::Ask);
    }

    #[test]
    fn a_tool_that_would_read_here_is_denied_when_reads_are_done_there() {
        use TaskHandlerMode::{External, Internal};
        let gate = Gate::new(places(External, Internal), None);
        assert!(!gate.expose_to_model("batch"));
        assert!(gate.expose_to_model("git"));
    }

    #[test]
    fn the_host_may_still_deny() {
        use TaskHandlerMode::External;
        let host = Arc::new(PermissionPolicy::new().deny("bash").allow("read"));
        let gate = Gate::new(places(External, External), Some(host));
        assert_eq!(
            gate.check("bash", &json!({"command": "ls"})),
            PermissionDecision::Deny
        );
        assert_eq!(
            gate.check("read", &json!({"path": "a"})),
            PermissionDecision::Allow
        );
        assert_eq!(gate.check("task", &json!({})), PermissionDecision::Deny);
    }
}
