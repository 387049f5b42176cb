//! Which nats-server versions are good enough, and what to tell the others' owners.

use std::fmt;
use std::str::FromStr;

/// The version that `cargo xtask nats` installs, and that everything is tested with.
pub const RECOMMENDED: Version = Version(2, 15, 1);

/// The oldest version that keeps every dead letter.
pub const OLDEST: Version = Version(2, 12, 9);

/// A release of nats-server. A pre-release counts as its release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

impl FromStr for Version {
    type Err = VersionError;

    /// Reads `2.15.1`, `v2.15.1`, `2.15.1-RC.2` and the output of `nats-server --version`.
    fn from_str(text: &str) -> Result<Self, VersionError> {
        let unreadable = || VersionError::Unreadable(text.trim().to_owned());
        let word = text.split_whitespace().last().ok_or_else(unreadable)?;
        let release = word.trim_start_matches('v').split(['-', '+']).next();
        let mut numbers = release.unwrap_or_default().split('.').map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).ok_or_else(unreadable);
        Ok(Self(next()?, next()?, next()?))
    }
}

/// Why a nats-server is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// The server is older than [`OLDEST`], or is 2.14.0.
    #[error(
        "nats-server {0} is refused: {OLDEST} or newer is needed, and not 2.14.0, because earlier \
         ones lose dead letters; get {RECOMMENDED} with `cargo xtask nats`, or from \
         https://nats.io/download"
    )]
    Refused(Version),
    /// The server said something that is no version.
    #[error(
        "cannot read the nats-server version {0:?}: a release, {OLDEST} or newer, is needed; get \
         {RECOMMENDED} with `cargo xtask nats`"
    )]
    Unreadable(String),
}

/// Accepts the version that a server reports, or says why not.
///
/// # Errors
/// [`VersionError::Refused`] for a version that loses dead letters, [`VersionError::Unreadable`]
/// for text that is no version.
pub fn accept(reported: &str) -> Result<Version, VersionError> {
    let version: Version = reported.parse()?;
    if version < OLDEST || version == Version(2, 14, 0) {
        return Err(VersionError::Refused(version));
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_lose_dead_letters_are_refused() {
        for text in [
            "2.9.25",
            "2.12.8",
            "v2.12.8",
            "2.14.0",
            "2.14.0-RC.1",
            "1.99.99",
        ] {
            let refused = accept(text).expect_err(text);
            assert!(matches!(refused, VersionError::Refused(_)), "{text}");
            let message = refused.to_string();
            for part in ["2.12.9 or newer", "dead letters", "cargo xtask nats"] {
                assert!(message.contains(part), "{message} lacks {part}");
            }
        }
    }

    #[test]
    fn versions_that_keep_dead_letters_are_accepted() {
        for (text, version) in [
            ("2.12.9", OLDEST),
            ("2.12.10", Version(2, 12, 10)),
            ("2.14.1", Version(2, 14, 1)),
            ("v2.15.1", RECOMMENDED),
            ("2.15.1-RC.2", RECOMMENDED),
            ("nats-server: v2.15.1\n", RECOMMENDED),
            ("3.0.0", Version(3, 0, 0)),
        ] {
            assert_eq!(accept(text), Ok(version), "{text}");
        }
    }

    #[test]
    fn what_is_no_version_is_quoted() {
        for text in ["", "dev", "2.15", "2.x.1"] {
            let refused = accept(text).expect_err(text);
            assert_eq!(refused, VersionError::Unreadable(text.into()));
        }
    }
}
