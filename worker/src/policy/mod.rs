//! What a worker allows its tasks: read from a file once, asked at every task. Pure.
//!
//! * `parse`: the file (`policy.toml`), and what is wrong with it, by line.
//! * `environment`, `paths`, `limits`: its parts.
//! * `check`: may this tool run, is this result too long.
//! * [`Refusal`]: what a task is told, with the rule's name.
//!
//! Who holds programs to it is the [sandbox](crate::sandbox); files are held to it by the
//! [workspace](crate::workspace).

mod check;
mod environment;
mod limits;
mod parse;
mod paths;
mod refusal;

use std::collections::BTreeSet;

pub use environment::Environment;
pub use limits::PolicyLimits;
pub use parse::PolicyError;
pub use paths::{Inside, Paths};
pub use refusal::{Refusal, Rule};

/// What tasks may do.
///
/// The default is what an empty file says: every tool that the worker has, the workspace alone, no
/// network, a handful of environment variables, no limits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Tools that may run. `None`: all that the worker has.
    pub tools: Option<BTreeSet<String>>,
    /// What may be read and written. Default: the workspace.
    pub paths: Paths,
    /// Which variables of the worker's environment programs see.
    pub environment: Environment,
    /// Whether programs may use the network. Default: no.
    pub network: bool,
    /// Whether programs may talk to others on this machine by unix sockets: to a container
    /// engine, a key agent, a session bus. Default: no, for each of these is a way out.
    pub unix_sockets: bool,
    /// How much, how long, how many.
    pub limits: PolicyLimits,
}

impl Policy {
    /// The policy of a worker that was given none: its tools do what its user may, and only the
    /// broker's credentials are kept from them.
    #[must_use]
    pub fn unrestricted() -> Self {
        Self {
            environment: Environment::AllButOurs,
            network: true,
            unix_sockets: true,
            ..Self::default()
        }
    }
}
