//! When a deep queue becomes an alert. Pure: told a depth, it says whether to raise one.

use a3s_shared::protocol::SessionLane;
use serde::{Deserialize, Serialize};

/// How many waiting tasks are a warning.
pub const DEPTH_WARNING: usize = 50;

/// How many waiting tasks are critical.
pub const DEPTH_CRITICAL: usize = 100;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertLevel {
    /// Worth a look.
    Warning,
    /// Tasks are about to miss their deadlines.
    Critical,
}

/// Something an operator should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// How bad it is.
    pub level: AlertLevel,
    /// The lane: `query`.
    pub lane_id: String,
    /// A sentence.
    pub message: String,
    /// What was measured.
    pub current_value: f64,
    /// What it reached.
    pub threshold: f64,
}

/// Raises an alert when a lane's depth rises to a threshold, once for each time it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct DepthAlerts {
    raised: [Option<AlertLevel>; 4],
}

impl DepthAlerts {
    /// Takes note of how many tasks wait in `lane`.
    pub(crate) fn observe(&mut self, lane: SessionLane, depth: usize) -> Option<Alert> {
        let level = level_of(depth);
        let before = std::mem::replace(&mut self.raised[lane.index()], level);
        if level <= before {
            return None;
        }
        let level = level?;
        let threshold = match level {
            AlertLevel::Warning => DEPTH_WARNING,
            AlertLevel::Critical => DEPTH_CRITICAL,
        };
        Some(Alert {
            level,
            lane_id: lane.id().to_owned(),
            message: format!(
                "{depth} tasks wait in lane {} (threshold {threshold})",
                lane.id()
            ),
            current_value: as_f64(depth),
            threshold: as_f64(threshold),
        })
    }
}

fn level_of(depth: usize) -> Option<AlertLevel> {
    match depth {
        DEPTH_CRITICAL.. => Some(AlertLevel::Critical),
        DEPTH_WARNING.. => Some(AlertLevel::Warning),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of tasks in memory")]
fn as_f64(depth: usize) -> f64 {
    depth as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_raised_once_for_each_rise() {
        let mut alerts = DepthAlerts::default();
        let mut levels = Vec::new();
        for depth in [10, 50, 60, 100, 150, 70, 120, 3, 51] {
            let alert = alerts.observe(SessionLane::Query, depth);
            levels.push(alert.map(|a| (a.level, a.threshold)));
        }
        let warning = Some((AlertLevel::Warning, 50.0));
        let critical = Some((AlertLevel::Critical, 100.0));
        assert_eq!(
            levels,
            [
                None, warning, None, critical, None, None, critical, None, warning
            ]
        );
    }

    #[test]
    fn lanes_do_not_share_an_alert() {
        let mut alerts = DepthAlerts::default();
        assert!(alerts.observe(SessionLane::Query, 100).is_some());
        assert!(alerts.observe(SessionLane::Execute, 100).is_some());
    }
}
