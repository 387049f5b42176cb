//! What a user says about a fleet, and what it makes of the agent's session options.

use std::sync::Arc;
use std::time::Duration;

use a3s_code_core::SessionOptions;
use a3s_code_core::permissions::PermissionChecker;
use a3s_code_core::queue::{LaneHandlerConfig, SessionLane, SessionQueueConfig, TaskHandlerMode};
use a3s_shared::protocol::{Encoding, Route};

use crate::gate::{Gate, Places};
use crate::lanes::{Handlers, LANES, index};
use crate::tool::FleetTool;

/// How long a call may wait for a worker to appear when none serves its lane.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long reads may take when nothing else is said, as in the reference documents.
const QUERY_TIMEOUT_MS: u64 = 120_000;

/// How long commands and writes may take when nothing else is said, as in the reference documents.
const EXECUTE_TIMEOUT_MS: u64 = 300_000;

/// How sessions of an agent use a fleet: one value serves any number of them.
#[derive(Debug, Clone)]
#[must_use]
pub struct FleetOptions {
    pub(crate) lanes: [LaneHandlerConfig; 4],
    pub(crate) tools: Vec<FleetTool>,
    pub(crate) session_id: Option<String>,
    pub(crate) route: Option<Route>,
    pub(crate) encoding: Encoding,
    pub(crate) patience: Duration,
    queue: SessionQueueConfig,
}

impl Default for FleetOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl FleetOptions {
    /// Reads go to workers (2 minutes), and commands and writes do (5 minutes).
    pub fn new() -> Self {
        Self::from_queue(SessionQueueConfig::default())
    }

    /// As the `queue` block of an agent's configuration says. One that names no lane handlers
    /// gets those of [`new`](Self::new).
    pub fn from_queue(mut queue: SessionQueueConfig) -> Self {
        if queue.lane_handlers.is_empty() {
            let external = |timeout_ms| LaneHandlerConfig {
                mode: TaskHandlerMode::External,
                timeout_ms,
            };
            queue.lane_handlers = [
                (SessionLane::Query, external(QUERY_TIMEOUT_MS)),
                (SessionLane::Execute, external(EXECUTE_TIMEOUT_MS)),
            ]
            .into();
        }
        Self::of(queue)
    }

    fn of(mut queue: SessionQueueConfig) -> Self {
        let lanes = LANES.map(|lane| {
            let mut handler = queue.handler_config(lane);
            let ceiling = queue.lane_timeouts.get(&lane).copied();
            if let Some(ceiling) = ceiling.or(queue.default_timeout_ms) {
                handler.timeout_ms = handler.timeout_ms.min(ceiling);
            }
            handler
        });
        // A timeout of the queue's own forgets the call and leaves it in its table. Retries are
        // the fleet's business: it knows what may be repeated.
        queue.default_timeout_ms = None;
        queue.lane_timeouts.clear();
        queue.retry_policy = None;
        // Until the fleet is attached nobody answers for a lane that is External.
        queue.lane_handlers.clear();
        Self {
            lanes,
            tools: Vec::new(),
            session_id: None,
            route: None,
            encoding: Encoding::default(),
            patience: PATIENCE,
            queue,
        }
    }

    /// Who handles the calls of a lane: `Internal` the agent's process, `External` the fleet,
    /// `Hybrid` the agent's process, and the fleet's listeners are told. The timeout is from the
    /// call to its answer, in milliseconds.
    pub fn lane(mut self, lane: SessionLane, mode: TaskHandlerMode, timeout_ms: u64) -> Self {
        self.lanes[index(lane)] = LaneHandlerConfig { mode, timeout_ms };
        self
    }

    /// Offers a tool of the user's own, which workers have (`a3s-worker --tool`), to the model.
    pub fn tool(mut self, tool: FleetTool) -> Self {
        self.tools.push(tool);
        self
    }

    /// The session's id at the broker: 1 to 64 letters, digits, `_` or `-`. Default: the agent
    /// session's own id, made to fit.
    pub fn session_id(mut self, id: impl Into<String>) -> Self {
        self.session_id = Some(id.into());
        self
    }

    /// Which workers take the tasks. Default: where the session's record says, else pool
    /// `default`.
    pub fn route(mut self, route: Route) -> Self {
        self.route = Some(route);
        self
    }

    /// How tasks and results are written. Default: MessagePack.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// How long a call may wait for a worker when none serves its lane; then the model is told
    /// so. Default: 5 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// What one session of the agent is to be built with: `base`, a queue, and permissions that
    /// show the model only tools that somebody does. The host's own permissions in `base` still
    /// decide; without any, calls that go to the fleet are allowed.
    ///
    /// The second part is for [`Fleet::attach`](crate::Fleet::attach) of this session. Until then,
    /// and after it is detached, all lanes are the agent's own.
    pub fn prepare(&self, mut base: SessionOptions) -> (SessionOptions, Prepared) {
        let policy = base.permission_policy.clone();
        let policy = policy.map(|policy| Arc::new(policy) as Arc<dyn PermissionChecker>);
        let host = base.permission_checker.take().or(policy);
        let handlers = Handlers::internal();
        let names = self.tools.iter().map(|tool| tool.name().to_owned());
        let places = Places::new(handlers.clone(), names);
        base.permission_checker = Some(Arc::new(Gate::new(places.clone(), host)));
        base.queue_config = Some(self.queue.clone());
        let prepared = Prepared {
            options: self.clone(),
            handlers,
            places,
        };
        (base, prepared)
    }
}

/// A session of an agent that is ready for a fleet.
#[derive(Debug)]
#[must_use = "the fleet is attached with it"]
pub struct Prepared {
    pub(crate) options: FleetOptions,
    /// Shared with the session's gate.
    pub(crate) handlers: Handlers,
    pub(crate) places: Places,
}

#[cfg(test)]
mod tests {
    use a3s_code_core::permissions::PermissionDecision;
    use a3s_code_core::queue::RetryPolicyConfig;

    use super::*;

    #[test]
    fn reads_and_commands_go_to_the_fleet_unless_said_otherwise() {
        use TaskHandlerMode::{External, Hybrid, Internal};
        let modes = FleetOptions::new().lanes.map(|handler| handler.mode);
        assert_eq!(modes, [Internal, External, External, Internal]);
        let mut queue = SessionQueueConfig::default();
        let hybrid = LaneHandlerConfig {
            mode: Hybrid,
            timeout_ms: 1_000,
        };
        queue.lane_handlers.insert(SessionLane::Execute, hybrid);
        let modes = FleetOptions::from_queue(queue)
            .lanes
            .map(|handler| handler.mode);
        assert_eq!(modes, [Internal, Internal, Hybrid, Internal]);
    }

    #[test]
    fn the_queues_own_timeouts_and_retries_become_the_fleets() {
        let mut queue = SessionQueueConfig::default().with_timeout(9_000);
        queue.lane_timeouts.insert(SessionLane::Query, 4_000);
        queue.retry_policy = Some(RetryPolicyConfig {
            strategy: "fixed".into(),
            max_retries: 3,
            initial_delay_ms: 1,
            fixed_delay_ms: None,
        });
        let options = FleetOptions::from_queue(queue);
        let timeouts = options.lanes.clone().map(|handler| handler.timeout_ms);
        assert_eq!(timeouts, [9_000, 4_000, 9_000, 9_000]);
        let (session, _) = options.prepare(SessionOptions::new());
        let queue = session.queue_config.expect("a queue");
        assert_eq!(queue.default_timeout_ms, None);
        assert!(queue.lane_timeouts.is_empty() && queue.retry_policy.is_none());
    }

    #[test]
    fn nothing_is_external_before_the_fleet_is_attached() {
        let (session, prepared) = FleetOptions::new().prepare(SessionOptions::new());
        assert!(!prepared.handlers.any_external());
        let queue = session.queue_config.expect("a queue");
        assert!(queue.lane_handlers.is_empty());
        let gate = session.permission_checker.expect("a gate");
        let asked = gate.check("bash", &serde_json::json!({"command": "ls"}));
        assert_eq!(asked, PermissionDecision::Ask);
    }
}
