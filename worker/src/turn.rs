//! When a worker of a pool gets a task that others of its pool would take too, and what its pulls
//! say so that the broker sees to it.

use a3s_shared::broker::PoolPolicy;
use serde_json::{Map, Value};

/// The largest distance, and that of a worker that says none: who does not say where it is comes
/// last.
pub const FARTHEST: u8 = 9;

/// When a worker of a pool gets a task that others of its pool would take too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turn {
    /// Whatever the pool's policy is: the farthest in a near-first pool, no helper in one that
    /// overflows. The default.
    #[default]
    Any,
    /// How far it is, 0 (nearest) to 9: it gets what no nearer one has a free slot for. The pool
    /// becomes near-first.
    Distance(u8),
    /// It helps: it gets a task of a lane only while at least so many of that lane wait, itself
    /// included. The pool becomes one that overflows.
    HelpWhen(u64),
}

impl Turn {
    /// The policy that a pool needs for it; `None`: any will do.
    #[must_use]
    pub fn policy(self) -> Option<PoolPolicy> {
        match self {
            Self::Any => None,
            Self::Distance(_) => Some(PoolPolicy::Near),
            Self::HelpWhen(_) => Some(PoolPolicy::Overflow),
        }
    }

    /// The option that asks for a policy, as it is typed.
    #[must_use]
    pub fn option(policy: PoolPolicy) -> &'static str {
        match policy {
            PoolPolicy::Any => "no --distance and no --help-when",
            PoolPolicy::Near => "--distance",
            PoolPolicy::Overflow => "--help-when",
        }
    }

    /// Adds to the body of a pull what the broker needs to know. `group` and `priority` are told
    /// to every pool: one that serves whoever asks first ignores them, and if its policy changes
    /// while this worker runs, its pulls are right already. `min_pending` is refused by any other
    /// pool than one that overflows.
    pub(crate) fn tell(self, group: &str, pull: &mut Map<String, Value>) {
        pull.insert("group".to_owned(), group.into());
        match self {
            Self::Any => pull.insert("priority".to_owned(), FARTHEST.into()),
            Self::Distance(distance) => pull.insert("priority".to_owned(), distance.into()),
            Self::HelpWhen(waiting) => pull.insert("min_pending".to_owned(), waiting.into()),
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(turn: Turn) -> Value {
        let mut pull = Map::new();
        turn.tell("workers", &mut pull);
        Value::Object(pull)
    }

    #[test]
    fn a_worker_that_says_nothing_of_its_place_is_the_farthest() {
        let expected = json!({ "group": "workers", "priority": 9 });
        assert_eq!(told(Turn::Any), expected);
        assert_eq!(Turn::Any.policy(), None);
    }

    #[test]
    fn only_a_helper_names_a_threshold() {
        let expected = json!({ "group": "workers", "priority": 0 });
        assert_eq!(told(Turn::Distance(0)), expected);
        let expected = json!({ "group": "workers", "min_pending": 20 });
        assert_eq!(told(Turn::HelpWhen(20)), expected);
    }
}
