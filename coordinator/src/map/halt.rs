//! When failures end the rest: `never`, `soon,fail=N`, `now,fail=N`.

use std::num::NonZeroUsize;
use std::str::FromStr;

/// What `--halt` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Halt {
    /// Failures end nothing.
    #[default]
    Never,
    /// After so many failures nothing more is started; what runs is finished.
    Soon(NonZeroUsize),
    /// After so many failures nothing more is started, and what runs is cancelled.
    Now(NonZeroUsize),
}

/// What to do after a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Start more.
    Go,
    /// Start no more.
    Finish,
    /// Start no more and cancel what runs.
    Cancel,
}

impl Halt {
    /// What follows from `failed` failures so far.
    pub(crate) fn after(self, failed: usize) -> Next {
        match self {
            Self::Soon(limit) if failed >= limit.get() => Next::Finish,
            Self::Now(limit) if failed >= limit.get() => Next::Cancel,
            _ => Next::Go,
        }
    }
}

/// A value of `--halt` that means nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown condition {0:?}: use never, soon,fail=1 or now,fail=1")]
pub(crate) struct UnknownHalt(String);

impl FromStr for Halt {
    type Err = UnknownHalt;

    fn from_str(text: &str) -> Result<Self, UnknownHalt> {
        let unknown = || UnknownHalt(text.to_owned());
        if text == "never" {
            return Ok(Self::Never);
        }
        let (when, limit) = text.split_once(",fail=").ok_or_else(unknown)?;
        let limit = limit.parse().map_err(|_| unknown())?;
        match when {
            "soon" => Ok(Self::Soon(limit)),
            "now" => Ok(Self::Now(limit)),
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halt(text: &str) -> Halt {
        text.parse().expect("a condition")
    }

    #[test]
    fn failures_end_what_the_condition_says() {
        assert_eq!(halt("never").after(1_000), Next::Go);
        assert_eq!(halt("soon,fail=2").after(1), Next::Go);
        assert_eq!(halt("soon,fail=2").after(2), Next::Finish);
        assert_eq!(halt("now,fail=1").after(1), Next::Cancel);
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "now",
            "now,fail=0",
            "later,fail=1",
            "soon,done=1",
            "now,fail=x",
        ] {
            assert!(text.parse::<Halt>().is_err(), "{text}");
        }
    }
}
