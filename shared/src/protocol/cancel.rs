//! The wish that a task ends.

use serde::{Deserialize, Serialize};

/// The body of a cancel message. Stored until its task can no longer run, so that a worker which
/// was away obeys when it returns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CancelMarker {
    /// Why, for the result and the log.
    #[serde(default)]
    pub reason: String,
    /// When, in the broker's time, milliseconds since 1970.
    #[serde(default, alias = "atMs")]
    pub at_ms: u64,
}
