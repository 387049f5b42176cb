//! How a task names the tree that it needs, and a result the changes that it brings.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Digest;

/// The field of a result's `result` that tells of changed files: a [`Returned`].
pub const RETURNED: &str = "workspace_changes";

/// The value of `A3s-Workspace`: `<digest>`, then `;return=<glob>` for each kind of file that the
/// caller wants back when the task has changed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceRef {
    /// Of the tree's manifest.
    pub digest: Digest,
    /// Which changed files return: globs of paths, in which `*` does not pass a `/` and `**` does.
    pub returns: Vec<String>,
}

/// A header that names no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidReference {
    /// It does not begin with a digest.
    #[error(transparent)]
    Digest(#[from] super::InvalidDigest),
    /// A part that this version does not know. Ignoring it could do what nobody asked for.
    #[error("unknown part {0:?} of a workspace: use return=GLOB")]
    Part(String),
    /// A glob that cannot be a part of a header.
    #[error("{0:?} cannot be sent: a glob is not empty and has no semicolon or control character")]
    Glob(String),
}

impl WorkspaceRef {
    /// The tree `digest`, of which nothing returns.
    #[must_use]
    pub fn new(digest: Digest) -> Self {
        let returns = Vec::new();
        Self { digest, returns }
    }

    /// With changed files that match `glob` returned.
    ///
    /// # Errors
    /// When the glob cannot be a part of a header.
    pub fn returning(mut self, glob: &str) -> Result<Self, InvalidReference> {
        let unfit = |c: char| c == ';' || c.is_control();
        if glob.trim() != glob || glob.is_empty() || glob.contains(unfit) {
            return Err(InvalidReference::Glob(glob.to_owned()));
        }
        self.returns.push(glob.to_owned());
        Ok(self)
    }
}

impl fmt::Display for WorkspaceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.digest)?;
        self.returns
            .iter()
            .try_for_each(|glob| write!(f, ";return={glob}"))
    }
}

impl FromStr for WorkspaceRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let mut parts = text.split(';');
        let digest = parts.next().unwrap_or_default().parse()?;
        parts.try_fold(Self::new(digest), |reference, part| {
            match part.strip_prefix("return=") {
                Some(glob) => reference.returning(glob),
                None => Err(InvalidReference::Part(part.to_owned())),
            }
        })
    }
}

/// What a result says of the files that its task changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returned {
    /// Of the manifest of the changes.
    pub digest: Digest,
    /// Files and links that are new or have another content.
    pub files: u64,
    /// Paths that are gone.
    pub deleted: u64,
    /// Of the new contents.
    pub bytes: u64,
}

/// What the store says of a tree or of changes: enough to list it, and where its texts are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeHead {
    /// How many paths it has.
    pub files: u64,
    /// Of all files, uncompressed.
    pub bytes: u64,
    /// When it was stored last, in the broker's time, milliseconds since 1970.
    pub at_ms: u64,
    /// Who stored it: `user@host`, or a worker's id.
    #[serde(default)]
    pub by: String,
    /// From which directory.
    #[serde(default)]
    pub root: String,
    /// The packs whose contents, one after the other, are the manifest.
    pub manifest: Vec<Digest>,
    /// The packs whose contents, one after the other, are the places.
    pub places: Vec<Digest>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_back_as_written() {
        let plain = WorkspaceRef::new(Digest::of(b"x"));
        assert_eq!(plain.to_string().parse(), Ok(plain.clone()));
        assert_eq!(plain.to_string().len(), 64);
        let reference = plain
            .returning("target/**/*.xml")
            .and_then(|r| r.returning("out=1"))
            .expect("two globs");
        assert_eq!(reference.to_string().parse(), Ok(reference));
    }

    #[test]
    fn what_is_not_known_is_refused_and_not_ignored() {
        let digest = Digest::of(b"x");
        for text in [
            "",
            "x",
            &format!("{digest};write=1"),
            &format!("{digest};return="),
        ] {
            assert!(text.parse::<WorkspaceRef>().is_err(), "{text}");
        }
        assert!(WorkspaceRef::new(digest).returning("a;b").is_err());
        assert!(WorkspaceRef::new(digest).returning("a\r\nX: y").is_err());
    }
}
