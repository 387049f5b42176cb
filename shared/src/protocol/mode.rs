//! Who handles the tasks of a lane.

use serde::{Deserialize, Serialize};

use super::DEFAULT_TIMEOUT_MS;

/// Who handles the tasks of a lane. Written `"External"`; `"external"` is read too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum TaskHandlerMode {
    /// The coordinator's process runs the task.
    #[default]
    #[serde(alias = "internal")]
    Internal,
    /// A worker runs the task; the caller waits for its result.
    #[serde(alias = "external")]
    External,
    /// The coordinator's process runs the task and tells the outside world: started, completed,
    /// failed.
    #[serde(alias = "hybrid")]
    Hybrid,
}

/// How a lane handles its tasks. Captured when a task is submitted: a change concerns later
/// tasks only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LaneHandlerConfig {
    /// Who handles the tasks. Default: `Internal`.
    pub mode: TaskHandlerMode,
    /// From submit to result, in milliseconds. Default: 60,000.
    #[serde(alias = "timeoutMs")]
    pub timeout_ms: u64,
}

impl Default for LaneHandlerConfig {
    fn default() -> Self {
        Self {
            mode: TaskHandlerMode::default(),
            timeout_ms: DEFAULT_TIMEOUT_MS,
        }
    }
}
