//! The configuration of a region's server: a leaf node without streams of its own, in front of
//! the region's workers.

use super::hub::{ACCOUNT, DOMAIN, LINK_PINGS, tls, user};
use super::identity::Identity;
use super::permissions::Permissions;

/// What differs between regions.
pub(crate) struct Leaf<'a> {
    /// The region.
    pub(crate) region: &'a str,
    /// Where its workers connect: `HOST:PORT`.
    pub(crate) listen: &'a str,
    /// Where the hub listens for it, as reached from here: `HOST:PORT`.
    pub(crate) hub: &'a str,
    /// Whether there are certificates.
    pub(crate) tls: bool,
    /// Who the region is to the hub.
    pub(crate) identity: &'a Identity,
    /// The region's workers, and what they may do.
    pub(crate) workers: &'a [(&'a Identity, Permissions)],
}

impl Leaf<'_> {
    /// The text of `leaf-<region>.conf`. It holds the region's seed, so it is a secret.
    pub(crate) fn text(&self) -> String {
        let Self {
            region,
            listen,
            hub,
            identity,
            ..
        } = self;
        let (scheme, own, remote) = match self.tls {
            true => {
                let name = identity.role.name();
                ("tls", tls(&name, 0), remote_tls(&name))
            }
            false => ("nats-leaf", String::new(), String::new()),
        };
        let seed = &identity.seed;
        let workers: String = self.workers.iter().map(|(i, p)| user(i, p)).collect();
        format!(
            "# The server of region {region}, written by `a3s-coordinator init`. It holds a secret.\n\
             # Start it in this directory, on a machine of the region:\n\
             #   nats-server --config leaf-{region}.conf\n\
             # Workers connect to it with `--js-domain {DOMAIN}`; worker-pool-{region}.env says so.\n\n\
             server_name: \"a3s-leaf-{region}\"\n\
             listen: \"{listen}\"\nmax_payload: 1MB\n\n{LINK_PINGS}{own}\
             accounts {{\n  {ACCOUNT} {{\n    users: [\n{workers}    ]\n  }}\n}}\n\n\
             leafnodes {{\n  reconnect: \"500ms\"\n  remotes: [\n    {{\n\
             \x20     url: \"{scheme}://{hub}\"\n\
             \x20     account: {ACCOUNT}\n\
             \x20     nkey: {seed}\n{remote}    }}\n  ]\n}}\n"
        )
    }
}

fn remote_tls(name: &str) -> String {
    format!(
        "      tls {{\n\
         \x20       cert_file: \"./tls/{name}.pem\"\n\
         \x20       key_file: \"./tls/{name}.key\"\n\
         \x20       ca_file: \"./tls/ca.pem\"\n\
         \x20     }}\n"
    )
}
