//! The lanes of both sides, and who handles each of them now.

use std::sync::Arc;

use a3s_code_core::queue::{LaneHandlerConfig, SessionLane as AgentLane, TaskHandlerMode};
use a3s_shared::protocol::SessionLane;
use parking_lot::RwLock;

/// The agent's lanes, highest priority first.
pub(crate) const LANES: [AgentLane; 4] = [
    AgentLane::Control,
    AgentLane::Query,
    AgentLane::Execute,
    AgentLane::Generate,
];

/// The same lane on the wire.
pub(crate) fn on_the_wire(lane: AgentLane) -> SessionLane {
    SessionLane::ALL[index(lane)]
}

/// Its place in arrays of four.
pub(crate) fn index(lane: AgentLane) -> usize {
    usize::from(lane.priority())
}

/// Who handles each lane, as the user configured it: the fleet writes it, and its gate and its
/// errands read it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Handlers(Arc<RwLock<[LaneHandlerConfig; 4]>>);

impl Handlers {
    pub(crate) fn new(handlers: [LaneHandlerConfig; 4]) -> Self {
        Self(Arc::new(RwLock::new(handlers)))
    }

    /// All lanes in the agent's own process.
    pub(crate) fn internal() -> Self {
        Self::new(LANES.map(|_| LaneHandlerConfig::default()))
    }

    pub(crate) fn get(&self, lane: AgentLane) -> LaneHandlerConfig {
        self.0.read()[index(lane)].clone()
    }

    pub(crate) fn set(&self, lane: AgentLane, handler: LaneHandlerConfig) {
        self.0.write()[index(lane)] = handler;
    }

    pub(crate) fn mode(&self, lane: AgentLane) -> TaskHandlerMode {
        self.0.read()[index(lane)].mode
    }

    /// Whether any tool calls leave this process.
    pub(crate) fn any_external(&self) -> bool {
        let handlers = self.0.read();
        handlers
            .iter()
            .any(|handler| handler.mode == TaskHandlerMode::External)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_the_same_lane_on_the_wire() {
        for lane in LANES {
            assert_eq!(format!("{lane:?}"), on_the_wire(lane).name());
        }
    }
}
