//! How much of the policy holds for programs on this machine.

use std::fmt;

use crate::policy::{Policy, Rule};

/// What stands between a program and the machine. Shown at start and in `workers`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// Nothing of ours.
    Off,
    /// The command of `--wrap`, by its first word.
    Wrapped(String),
    /// What the kernel has.
    Kernel {
        /// Landlock, by the version of its interface.
        landlock: Option<u8>,
        /// System call filters.
        seccomp: bool,
    },
}

/// The first version of Landlock that holds writing whole: before it, a file that could not be
/// opened for writing could still be emptied.
pub(super) const WHOLE_LANDLOCK: u8 = 3;

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Wrapped(program) => write!(f, "wrap {program}"),
            Self::Kernel { landlock, seccomp } => match (landlock, seccomp) {
                (Some(version), true) => write!(f, "landlock v{version} + seccomp"),
                (Some(version), false) => write!(f, "landlock v{version}, no seccomp"),
                (None, true) => f.write_str("seccomp, no landlock"),
                (None, false) => f.write_str("none: the kernel has no landlock and no seccomp"),
            },
        }
    }
}

impl Level {
    /// Whether all that the kernel can be asked for is there.
    pub(super) fn is_whole(&self) -> bool {
        match self {
            Self::Off => false,
            Self::Wrapped(_) => true,
            Self::Kernel { landlock, seccomp } => {
                *seccomp && landlock.is_some_and(|version| version >= WHOLE_LANDLOCK)
            }
        }
    }

    /// The rules of `policy` that programs are not held to. A wrapping command has rules of its
    /// own, of which we know nothing.
    pub(super) fn not_held(&self, policy: &Policy) -> Vec<Rule> {
        let (landlock, seccomp) = match self {
            Self::Off | Self::Wrapped(_) => (false, false),
            Self::Kernel { landlock, seccomp } => (landlock.is_some(), *seccomp),
        };
        let rules = [
            (Rule::PathsRead, landlock),
            (Rule::PathsWrite, landlock),
            (Rule::Network, seccomp || policy.network),
            (Rule::UnixSockets, seccomp || policy.unix_sockets),
        ];
        rules
            .into_iter()
            .filter_map(|(rule, held)| (!held).then_some(rule))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(landlock: Option<u8>, seccomp: bool) -> Level {
        Level::Kernel { landlock, seccomp }
    }

    #[test]
    fn a_level_reads_as_what_it_is() {
        assert_eq!(kernel(Some(7), true).to_string(), "landlock v7 + seccomp");
        assert_eq!(kernel(None, true).to_string(), "seccomp, no landlock");
        assert_eq!(Level::Wrapped("bwrap".to_owned()).to_string(), "wrap bwrap");
        assert_eq!(Level::Off.to_string(), "off");
    }

    #[test]
    fn a_landlock_that_lets_files_be_emptied_is_not_whole() {
        assert!(kernel(Some(3), true).is_whole());
        assert!(!kernel(Some(2), true).is_whole());
        assert!(!kernel(Some(7), false).is_whole());
    }

    #[test]
    fn rules_that_programs_are_not_held_to_are_known() {
        let mut policy = Policy::default();
        assert_eq!(kernel(Some(4), true).not_held(&policy), []);
        let paths = [Rule::PathsRead, Rule::PathsWrite];
        assert_eq!(kernel(None, true).not_held(&policy), paths);
        policy.network = true;
        let rest = Level::Off.not_held(&policy);
        assert_eq!(rest, [Rule::PathsRead, Rule::PathsWrite, Rule::UnixSockets]);
    }
}
