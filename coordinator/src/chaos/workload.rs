//! What a run submits: tasks of all kinds, each a pure function of the seed and its number, so
//! that every process of a run knows them without being told.

use a3s_coordinator::Task;
use a3s_shared::protocol::{Effect, Encoding, RetryPolicy, Route, SessionLane};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The tool of tasks that ask for another attempt: the script of the run, offered to the workers
/// by this name. All others use `bash`, which every worker has.
pub(crate) const TOOL: &str = "attempt";

/// The time of a task from submit to result, in milliseconds, unless its deadline is short.
const TIMEOUT_MS: u64 = 30_000;

/// How often a task may be tried, where that is the point of it.
const ATTEMPTS: u32 = 3;

/// The three sessions of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Home {
    /// On pool `default`, in MessagePack.
    Pool,
    /// On pool `default`, in JSON.
    Json,
    /// On workers of its own, in MessagePack.
    Own,
}

impl Home {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Pool, Self::Json, Self::Own];

    /// The session's id in the run `name`.
    pub(crate) fn session(self, name: &str) -> String {
        let home = match self {
            Self::Pool => "pool",
            Self::Json => "json",
            Self::Own => "own",
        };
        format!("{name}-{home}")
    }

    /// Who runs its tasks.
    pub(crate) fn route(self) -> Route {
        match self {
            Self::Pool | Self::Json => Route::Pool("default".to_owned()),
            Self::Own => Route::Own,
        }
    }

    /// How its messages are written.
    pub(crate) fn encoding(self) -> Encoding {
        match self {
            Self::Json => Encoding::Json,
            Self::Pool | Self::Own => Encoding::MessagePack,
        }
    }
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Ends at once, well.
    Quick,
    /// Takes so many milliseconds, so that faults hit it while it runs.
    Slow(u64),
    /// Ends with status 3: a result, and no success.
    Fails,
    /// Asks for another attempt once, then ends well.
    AsksAgain,
    /// Asks for another attempt for ever: a dead letter in the end.
    Hopeless,
    /// Takes longer than its time.
    TooSlow {
        /// Its time, in milliseconds.
        timeout_ms: u64,
    },
    /// Takes long, and its caller cancels it.
    Cancelled {
        /// After so many milliseconds.
        after_ms: u64,
    },
    /// Has a body that goes through the object store.
    Large,
}

/// One task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    /// Its number, from 0.
    pub(crate) index: usize,
    /// Its session.
    pub(crate) home: Home,
    /// Its lane.
    pub(crate) lane: SessionLane,
    /// Whether it may be started again after a crash.
    pub(crate) effect: Effect,
    /// What it does.
    pub(crate) shape: Shape,
}

impl Spec {
    /// Task number `index` of the run of `seed`.
    pub(crate) fn of(seed: u64, index: usize) -> Self {
        let stream = seed.rotate_left(32) ^ (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = StdRng::seed_from_u64(stream);
        let home = match random.random_range(0..10) {
            0..5 => Home::Pool,
            5..8 => Home::Json,
            _ => Home::Own,
        };
        let lane = match random.random_range(0..20) {
            0 => SessionLane::Control,
            1 => SessionLane::Generate,
            2..10 => SessionLane::Execute,
            _ => SessionLane::Query,
        };
        let effect = match random.random_bool(0.4) {
            true => Effect::Once,
            false => Effect::Idempotent,
        };
        let shape = match random.random_range(0..1_000) {
            0..760 => Shape::Quick,
            760..860 => Shape::Slow(random.random_range(100..1_500)),
            860..910 => Shape::Fails,
            910..935 => Shape::AsksAgain,
            935..945 => Shape::Hopeless,
            945..965 => Shape::TooSlow {
                timeout_ms: random.random_range(200..1_200),
            },
            965..985 => Shape::Cancelled {
                after_ms: random.random_range(0..600),
            },
            _ => Shape::Large,
        };
        Self {
            index,
            home,
            lane,
            effect,
            shape,
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> String {
        format!("t{:07}", self.index)
    }

    /// The number in an id; `None` when it is none of ours.
    pub(crate) fn index_of(id: &str) -> Option<usize> {
        id.strip_prefix('t')?.parse().ok()
    }

    /// From submit to result, in milliseconds.
    pub(crate) fn timeout_ms(&self) -> u64 {
        match self.shape {
            Shape::TooSlow { timeout_ms } => timeout_ms,
            _ => TIMEOUT_MS,
        }
    }

    /// How often it is tried at most.
    pub(crate) fn max_attempts(&self) -> u32 {
        self.retry().max_attempts()
    }

    fn retry(&self) -> RetryPolicy {
        match (self.shape, self.effect) {
            (Shape::AsksAgain | Shape::Hopeless, _) => RetryPolicy {
                max_retries: ATTEMPTS - 1,
                ..RetryPolicy::default()
            },
            (_, Effect::Once) => RetryPolicy::none(),
            (_, Effect::Idempotent) => RetryPolicy::default(),
        }
    }

    /// The task as it is submitted; `script` is the run's.
    pub(crate) fn task(&self, script: &str) -> Task {
        let (tool, payload) = match self.shape {
            Shape::AsksAgain => (TOOL, json!({ "run": self.arguments("0", "again") })),
            Shape::Hopeless => (TOOL, json!({ "run": self.arguments("0", "75") })),
            Shape::Fails => ("bash", self.command(script, "0", "3")),
            Shape::Quick => ("bash", self.command(script, "0", "0")),
            Shape::Slow(ms) => ("bash", self.command(script, &seconds(ms), "0")),
            Shape::TooSlow { timeout_ms } => (
                "bash",
                self.command(script, &seconds(timeout_ms + 1_500), "0"),
            ),
            Shape::Cancelled { .. } => ("bash", self.command(script, "2", "0")),
            Shape::Large => {
                let mut payload = self.command(script, "0", "0");
                payload["ballast"] = "x".repeat(300 * 1024).into();
                ("bash", payload)
            }
        };
        Task::new(tool, payload)
            .id(self.id())
            .effect(self.effect)
            .retry_policy(self.retry())
            .timeout_ms(self.timeout_ms())
    }

    /// The arguments of the run's script: task, seconds that it takes, status that it ends with.
    fn arguments(&self, seconds: &str, status: &str) -> String {
        format!("{} {seconds} {status}", self.id())
    }

    fn command(&self, script: &str, seconds: &str, status: &str) -> serde_json::Value {
        json!({ "command": format!(". '{script}' {}", self.arguments(seconds, status)) })
    }
}

fn seconds(ms: u64) -> String {
    format!("{}.{:03}", ms / 1_000, ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_is_known_by_seed_and_number_alone() {
        assert_eq!(Spec::of(1, 17), Spec::of(1, 17));
        let differ = (0..100).filter(|&index| {
            let (one, two) = (Spec::of(1, index), Spec::of(2, index));
            (one.shape, one.home, one.lane) != (two.shape, two.home, two.lane)
        });
        assert!(differ.count() > 20);
        assert_eq!(Spec::index_of(&Spec::of(1, 17).id()), Some(17));
        assert_eq!(Spec::index_of("other"), None);
    }

    #[test]
    fn a_run_has_tasks_of_every_kind() {
        let specs: Vec<Spec> = (0..2_000).map(|index| Spec::of(5, index)).collect();
        let kinds: std::collections::HashSet<_> = specs
            .iter()
            .map(|spec| std::mem::discriminant(&spec.shape))
            .collect();
        assert_eq!(kinds.len(), 8);
        for home in Home::ALL {
            assert!(
                specs.iter().filter(|spec| spec.home == home).count() > 200,
                "{home:?}"
            );
        }
        let once = specs
            .iter()
            .filter(|spec| spec.effect == Effect::Once)
            .count();
        assert!((600..1_000).contains(&once), "{once}");
    }
}
