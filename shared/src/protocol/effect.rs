//! Whether a task may be started more than once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a second start of the same task would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Starting it again is harmless: after a crash another worker does.
    Idempotent,
    /// It may have side effects: it is started at most once, and a task whose worker died after
    /// the start is answered `unknown` instead.
    Once,
}

impl Effect {
    /// The value of the `A3s-Effect` header.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Idempotent => "idempotent",
            Self::Once => "once",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// An effect that is neither of the two.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown effect {0:?}: use idempotent or once")]
pub struct UnknownEffect(String);

impl FromStr for Effect {
    type Err = UnknownEffect;

    fn from_str(text: &str) -> Result<Self, UnknownEffect> {
        match text {
            "idempotent" => Ok(Self::Idempotent),
            "once" => Ok(Self::Once),
            _ => Err(UnknownEffect(text.to_owned())),
        }
    }
}
