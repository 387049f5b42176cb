//! What a process of a role reads from its environment: where to go, as whom, to serve what.

use std::path::Path;

use a3s_shared::protocol::{Serves, SessionLane};

use super::hub::DOMAIN;
use super::role::Role;

/// The text of `<role>.env`, for `set -a; . <role>.env` and for `EnvironmentFile=`. It names
/// secrets and holds none. `dir` is where the files are, `url` the server of this role.
pub(crate) fn text(role: &Role, dir: &Path, url: &str, tls: bool, behind_leaf: bool) -> String {
    let name = role.name();
    let file = |kind: &str, ending: &str| dir.join(kind).join(format!("{name}.{ending}"));
    let mut lines = vec![
        ("NATS_URL", url.to_owned()),
        ("NATS_NKEY", file("keys", "nk").display().to_string()),
        ("A3S_INBOX_PREFIX", role.inbox()),
    ];
    if tls {
        lines.push(("NATS_CA", dir.join("tls/ca.pem").display().to_string()));
        lines.push(("NATS_CERT", file("tls", "pem").display().to_string()));
        lines.push(("NATS_KEY", file("tls", "key").display().to_string()));
    }
    if behind_leaf {
        lines.push(("A3S_JS_DOMAIN", DOMAIN.to_owned()));
    }
    lines.extend(serving(role));
    let lines = lines
        .into_iter()
        .map(|(name, value)| format!("{name}={}\n", quoted(&value)));
    format!("# {role}\n{}", lines.collect::<String>())
}

fn serving(role: &Role) -> Vec<(&'static str, String)> {
    match role {
        Role::Session(session) => vec![("A3S_SESSION", session.clone())],
        Role::Worker { serves, lanes } => {
            let mut lines = vec![match serves {
                Serves::Pool(pool) => ("A3S_POOL", pool.clone()),
                Serves::Session(session) => ("SESSION_ID", session.clone()),
            }];
            if lanes.len() < SessionLane::ALL.len() {
                let lanes: Vec<&str> = lanes.iter().map(|lane| lane.id()).collect();
                lines.push(("A3S_LANES", lanes.join(",")));
            }
            lines
        }
        Role::Coordinator | Role::Observer | Role::Leaf(_) => Vec::new(),
    }
}

/// Quoted where a shell would read it otherwise; systemd understands the same.
fn quoted(value: &str) -> String {
    shlex::try_quote(value).map_or_else(|_| value.to_owned(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_finds_its_key_its_inbox_and_its_lanes() {
        let role = Role::Worker {
            serves: Serves::Pool("eu".into()),
            lanes: vec![SessionLane::Query],
        };
        let text = text(&role, Path::new("/x"), "nats://h:4222", false, false);
        for line in [
            "NATS_NKEY=/x/keys/worker-pool-eu.query.nk\n",
            "A3S_INBOX_PREFIX=_INBOX_worker-pool-eu.query\n",
            "A3S_POOL=eu\n",
            "A3S_LANES=query\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert!(!text.contains("NATS_CA"), "{text}");
    }
}
