//! How a waiting task gains priority as its time runs out. Pure.

use std::time::Duration;

/// What remains of the window, in percent, and how many lanes a task then moves up.
type Steps = &'static [(u32, u8)];

/// The steps of strategy `standard`.
const STANDARD: Steps = &[(75, 1), (50, 2), (25, 3), (10, 4)];

/// The steps of strategy `aggressive`: sooner and further.
const AGGRESSIVE: Steps = &[(80, 2), (60, 4), (40, 6), (20, 8)];

/// A priority boost. The default one never boosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Boost {
    window: Duration,
    steps: Steps,
}

impl Boost {
    /// Moves a task up by one lane for each quarter of `window` that is over, and once more at
    /// the end.
    #[must_use]
    pub(crate) fn standard(window: Duration) -> Self {
        Self {
            window,
            steps: STANDARD,
        }
    }

    /// Moves a task up by two lanes for each fifth of `window` that is over.
    #[must_use]
    pub(crate) fn aggressive(window: Duration) -> Self {
        Self {
            window,
            steps: AGGRESSIVE,
        }
    }

    /// The priority (0 runs first) of a task whose lane has `priority`, that has waited for
    /// `waited`, and that must be done within `timeout` of its submission.
    #[must_use]
    pub(crate) fn priority(&self, priority: u8, waited: Duration, timeout: Duration) -> u8 {
        let window = self.window.min(timeout);
        let remaining = window.saturating_sub(waited);
        let reached = |(percent, _): &&(u32, u8)| remaining * 100 <= window * *percent;
        let lanes = self.steps.iter().filter(reached).map(|(_, up)| *up).max();
        priority.saturating_sub(lanes.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn standard_steps_are_quarters_and_the_last_tenth() {
        let boost = Boost::standard(ms(1_000));
        let at = |waited| boost.priority(4, ms(waited), ms(60_000));
        assert_eq!(
            [
                at(0),
                at(249),
                at(250),
                at(500),
                at(750),
                at(900),
                at(5_000)
            ],
            [4, 4, 3, 2, 1, 0, 0]
        );
    }

    #[test]
    fn a_shorter_timeout_is_the_window() {
        let boost = Boost::standard(ms(300_000));
        assert_eq!(boost.priority(3, ms(500), ms(1_000)), 1);
    }

    proptest! {
        #[test]
        fn waiting_longer_never_lowers_priority(
            priority in 0_u8..4, a in 0_u64..5_000, b in 0_u64..5_000, window in 1_u64..5_000,
        ) {
            for boost in [Boost::default(), Boost::standard(ms(window)), Boost::aggressive(ms(window))] {
                let sooner = boost.priority(priority, ms(a.min(b)), ms(4_000));
                let later = boost.priority(priority, ms(a.max(b)), ms(4_000));
                prop_assert!(later <= sooner && sooner <= priority);
            }
        }

        #[test]
        fn without_a_strategy_nothing_changes(waited in 0_u64..100_000) {
            prop_assert_eq!(Boost::default().priority(2, ms(waited), ms(10)), 2);
        }
    }
}
