//! The roles that a credential can have.

use std::fmt;

use a3s_shared::protocol::{Serves, SessionLane};

/// Who a credential is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Role {
    /// Submits for all sessions, clears up after workers, and creates what is missing.
    Coordinator,
    /// Submits for one session alone.
    Session(String),
    /// Runs tasks: those of a pool or of a session, of these lanes.
    Worker {
        /// Whose.
        serves: Serves,
        /// From which lanes.
        lanes: Vec<SessionLane>,
    },
    /// Watches and changes nothing.
    Observer,
    /// Connects the server of a region to the hub, for workers of the pool of its name.
    Leaf(String),
}

impl Role {
    /// Its name: of its files, of its certificate, and in its inbox. No two roles of one
    /// installation share one, because names of pools and sessions have no dot.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Coordinator => "coordinator".to_owned(),
            Self::Session(session) => format!("coordinator-session-{session}"),
            Self::Worker { serves, lanes } => {
                let whose = match serves {
                    Serves::Pool(pool) => format!("worker-pool-{pool}"),
                    Serves::Session(session) => format!("worker-session-{session}"),
                };
                match lanes[..] {
                    [lane] => format!("{whose}.{}", lane.id()),
                    _ => whose,
                }
            }
            Self::Observer => "observer".to_owned(),
            Self::Leaf(region) => format!("leaf-{region}"),
        }
    }

    /// What the reply subjects of its processes begin with. Nobody else's begin so: the answers
    /// to one role's requests are read by no other.
    pub(crate) fn inbox(&self) -> String {
        match self {
            // What passes the leaf is addressed to the workers behind it.
            Self::Leaf(region) => region_worker(region).inbox(),
            role => format!("_INBOX_{}", role.name()),
        }
    }
}

/// The workers of a region.
pub(crate) fn region_worker(region: &str) -> Role {
    Role::Worker {
        serves: Serves::Pool(region.to_owned()),
        lanes: SessionLane::ALL.to_vec(),
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => write!(f, "coordinator of all sessions; creates what is missing"),
            Self::Session(session) => write!(f, "coordinator of session {session}"),
            Self::Worker { serves, lanes } => {
                match serves {
                    Serves::Pool(pool) => write!(f, "worker of pool {pool}")?,
                    Serves::Session(session) => write!(f, "worker of session {session}")?,
                }
                let lanes: Vec<&str> = lanes.iter().map(|lane| lane.id()).collect();
                write!(f, " ({})", lanes.join(", "))
            }
            Self::Observer => write!(f, "observer: sees what waits and runs, changes nothing"),
            Self::Leaf(region) => write!(f, "server of region {region}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_like_names_are_told_apart() {
        let lane = |pool: &str, lanes: &[SessionLane]| Role::Worker {
            serves: Serves::Pool(pool.to_owned()),
            lanes: lanes.to_vec(),
        };
        let roles = [
            lane("eu", &[SessionLane::Query]),
            lane("eu-query", &SessionLane::ALL),
            lane("eu", &SessionLane::ALL),
            Role::Worker {
                serves: Serves::Session("eu".to_owned()),
                lanes: SessionLane::ALL.to_vec(),
            },
            Role::Session("eu".to_owned()),
            Role::Coordinator,
        ];
        let mut names: Vec<String> = roles.iter().map(Role::name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), roles.len(), "{names:?}");
    }

    #[test]
    fn a_leaf_carries_the_answers_to_its_workers() {
        assert_eq!(Role::Leaf("eu".into()).inbox(), "_INBOX_worker-pool-eu");
    }
}
