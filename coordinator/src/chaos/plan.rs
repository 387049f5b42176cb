//! Which faults a run injects, when, and whom they hit: a pure function of the seed.

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// The pause between the beginnings of two faults, in milliseconds. At most two or three are open
/// at a time, so that something still gets done.
const PAUSE_MS: std::ops::Range<u64> = 350..1_100;

/// How long the server is left alone between two of its own faults, in milliseconds: it has to
/// recover its store, and everybody else to come back.
const SERVER_REST_MS: u64 = 2_500;

/// The latency of a slow link, in milliseconds.
const LATENCY_MS: std::ops::Range<u64> = 20..150;

/// What a fault does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Harm {
    /// SIGKILL of a worker, which comes back a moment later under another id
    WorkerKill,
    /// SIGSTOP of a worker and SIGCONT, often after its leases are over
    WorkerFreeze,
    /// SIGTERM of a worker: it drains, and another one takes its place
    WorkerDrain,
    /// SIGKILL of the process that submits, which is started again and goes on
    SubmitterKill,
    /// SIGSTOP and SIGCONT of the process that submits
    SubmitterFreeze,
    /// SIGKILL of nats-server, which is started again on the same store and port
    ServerKill,
    /// SIGSTOP and SIGCONT of nats-server: connections stay, nothing answers
    ServerFreeze,
    /// A process's connections are closed, and new ones too
    Cut,
    /// Everything that a process sends and receives is late
    Delay,
    /// A process's connections stay open and nothing passes: no error tells
    HalfOpen,
    /// What a process sends arrives, and no answer comes back; then the connection is closed
    LostAcks,
}

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Target {
    /// A worker by its place, from 0.
    Worker(usize),
    /// The process that submits, a coordinator.
    Submitter,
    /// The nats-server.
    Server,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    /// When it begins, in milliseconds from the beginning of the run.
    pub(crate) at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub(crate) lasts_ms: u64,
    /// What it does.
    pub(crate) harm: Harm,
    /// Whom it hits.
    pub(crate) target: Target,
    /// The latency of a [`Harm::Delay`], in milliseconds; 0 for all others.
    #[serde(default)]
    pub(crate) latency_ms: u64,
}

impl Harm {
    /// Whether a run may inject it on a server that is not its own.
    pub(crate) fn spares_the_server(self) -> bool {
        use Harm::{SubmitterFreeze, SubmitterKill, WorkerDrain, WorkerFreeze, WorkerKill};
        let processes = [
            WorkerKill,
            WorkerFreeze,
            WorkerDrain,
            SubmitterKill,
            SubmitterFreeze,
        ];
        processes.contains(&self)
    }

    /// How long it may last, in milliseconds. A freeze or a half-open link is at times shorter and
    /// at times longer than the lease of a run (3 s), because that is where things go wrong.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::WorkerKill | Self::ServerKill => 100..1_500,
            Self::WorkerFreeze => 500..6_000,
            Self::WorkerDrain | Self::SubmitterKill => 100..1_000,
            Self::SubmitterFreeze => 300..4_000,
            Self::ServerFreeze | Self::Cut => 100..2_500,
            Self::Delay => 1_000..4_000,
            Self::HalfOpen => 500..5_000,
            Self::LostAcks => 300..3_000,
        }
    }

    fn target(self, workers: usize, random: &mut StdRng) -> Target {
        match self {
            Self::WorkerKill | Self::WorkerFreeze | Self::WorkerDrain => {
                Target::Worker(random.random_range(0..workers))
            }
            Self::SubmitterKill | Self::SubmitterFreeze => Target::Submitter,
            Self::ServerKill | Self::ServerFreeze => Target::Server,
            Self::Cut | Self::Delay | Self::HalfOpen | Self::LostAcks => {
                match random.random_range(0..=workers) {
                    place if place == workers => Target::Submitter,
                    place => Target::Worker(place),
                }
            }
        }
    }
}

/// The faults of a run of `span_ms` milliseconds, by time. No target has two at a time.
pub(crate) fn plan(seed: u64, span_ms: u64, workers: usize, harms: &[Harm]) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut faults: Vec<Fault> = Vec::new();
    let mut at_ms = 0;
    if harms.is_empty() || workers == 0 {
        return faults;
    }
    loop {
        at_ms += random.random_range(PAUSE_MS);
        if at_ms >= span_ms {
            return faults;
        }
        // All is drawn before it is known whether it fits: the next fault does not depend on it.
        let harm = harms[random.random_range(0..harms.len())];
        let target = harm.target(workers, &mut random);
        let lasts_ms = random.random_range(harm.lasts());
        let latency_ms = random.random_range(LATENCY_MS);
        let rest = if target == Target::Server {
            SERVER_REST_MS
        } else {
            0
        };
        let busy = faults
            .iter()
            .any(|fault| fault.target == target && fault.at_ms + fault.lasts_ms + rest > at_ms);
        if !busy {
            faults.push(Fault {
                at_ms,
                lasts_ms,
                harm,
                target,
                latency_ms: if harm == Harm::Delay { latency_ms } else { 0 },
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_same_seed_is_the_same_plan() {
        let all = Harm::value_variants();
        assert_eq!(plan(7, 60_000, 4, all), plan(7, 60_000, 4, all));
        assert_ne!(plan(7, 60_000, 4, all), plan(8, 60_000, 4, all));
    }

    #[test]
    fn a_longer_run_begins_as_the_shorter_one() {
        let all = Harm::value_variants();
        let (short, long) = (plan(3, 10_000, 4, all), plan(3, 60_000, 4, all));
        assert!(!short.is_empty() && long.starts_with(&short));
    }

    proptest! {
        #[test]
        fn nobody_is_hit_twice_at_a_time(seed: u64, workers in 1_usize..8) {
            let faults = plan(seed, 120_000, workers, Harm::value_variants());
            for (index, fault) in faults.iter().enumerate() {
                let end = fault.at_ms + fault.lasts_ms;
                let next = faults[index + 1..].iter().find(|next| next.target == fault.target);
                prop_assert!(next.is_none_or(|next| next.at_ms >= end), "{fault:?} {next:?}");
            }
        }

        #[test]
        fn only_what_was_asked_for_is_done(seed: u64) {
            let faults = plan(seed, 60_000, 3, &[Harm::Cut]);
            prop_assert!(!faults.is_empty());
            prop_assert!(faults.iter().all(|fault| fault.harm == Harm::Cut));
        }
    }
}
