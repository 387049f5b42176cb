//! Choosing among the dead letters. Pure.

use std::time::Duration;

use a3s_shared::protocol::{DeadLetter, SessionLane};

/// Which dead letters are meant. What is not said does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Choice {
    /// Those of one of these tasks.
    pub(crate) ids: Vec<String>,
    /// Those of this session.
    pub(crate) session: Option<String>,
    /// Those of this lane.
    pub(crate) lane: Option<SessionLane>,
    /// Those of this tool.
    pub(crate) command_type: Option<String>,
    /// Those that were given up at least so long ago.
    pub(crate) older_than: Option<Duration>,
}

impl Choice {
    /// Whether `letter` is meant, at `now_ms` in the broker's time.
    pub(crate) fn includes(&self, letter: &DeadLetter, now_ms: u64) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        let age = Duration::from_millis(now_ms.saturating_sub(letter.failed_at));
        (self.ids.is_empty() || self.ids.contains(&letter.task_id))
            && is(self.session.as_ref(), &letter.session_id)
            && is(self.lane.as_ref(), &letter.lane)
            && is(self.command_type.as_ref(), &letter.command_type)
            && self.older_than.is_none_or(|least| age >= least)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn letter() -> DeadLetter {
        serde_json::from_value(json!({
            "task_id": "t1", "session_id": "s", "lane": "Query", "command_type": "read",
            "error": "x", "attempts": 3, "failed_at": 10_000, "subject": "a3s.s.query",
            "headers": [], "body": ""
        }))
        .expect("a dead letter")
    }

    #[test]
    fn without_a_wish_every_letter_is_meant() {
        assert!(Choice::default().includes(&letter(), 0));
    }

    #[test]
    fn each_filter_can_leave_a_letter_out() {
        let choices = [
            (
                Choice {
                    ids: vec!["t2".into()],
                    ..Choice::default()
                },
                "id",
            ),
            (
                Choice {
                    session: Some("other".into()),
                    ..Choice::default()
                },
                "session",
            ),
            (
                Choice {
                    lane: Some(SessionLane::Execute),
                    ..Choice::default()
                },
                "lane",
            ),
            (
                Choice {
                    command_type: Some("bash".into()),
                    ..Choice::default()
                },
                "type",
            ),
            (
                Choice {
                    older_than: Some(Duration::from_secs(11)),
                    ..Choice::default()
                },
                "age",
            ),
        ];
        for (choice, what) in choices {
            assert!(!choice.includes(&letter(), 20_000), "{what}");
        }
    }

    #[test]
    fn filters_hold_together() {
        let choice = Choice {
            ids: vec!["t0".into(), "t1".into()],
            session: Some("s".into()),
            lane: Some(SessionLane::Query),
            command_type: Some("read".into()),
            older_than: Some(Duration::from_secs(10)),
        };
        assert!(choice.includes(&letter(), 20_000));
        assert!(!choice.includes(&letter(), 19_999));
    }
}
