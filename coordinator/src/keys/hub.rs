//! The configuration of the hub: the server with JetStream, which all others reach.

use std::fmt::Write as _;

use super::identity::Identity;
use super::permissions::Permissions;

/// The account that everything of ours is in.
pub(crate) const ACCOUNT: &str = "A3S";

/// The JetStream domain of a hub with regions: what is behind a leaf node names it.
pub(crate) const DOMAIN: &str = "hub";

/// The port on which a hub listens for the servers of regions, unless told.
pub(crate) const LEAF_PORT: u16 = 7422;

/// What differs between hubs.
pub(crate) struct Hub<'a> {
    /// Where clients connect: `HOST:PORT`.
    pub(crate) listen: &'a str,
    /// Where servers of regions connect; `None` without regions.
    pub(crate) leaf_listen: Option<&'a str>,
    /// Whether there are certificates.
    pub(crate) tls: bool,
    /// Who may connect, and what each may do.
    pub(crate) users: &'a [(Identity, Permissions)],
}

impl Hub<'_> {
    /// The text of `nats.conf`. Its paths are relative: the server is started in its directory.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from(HEAD);
        let _ = writeln!(
            text,
            "server_name: \"a3s-hub\"\nlisten: \"{}\"\n",
            self.listen
        );
        text.push_str(LIMITS);
        text.push_str(match self.leaf_listen {
            Some(_) => LINK_PINGS,
            None => PINGS,
        });
        if self.tls {
            text.push_str(&tls("server", 0));
        }
        text.push_str("jetstream {\n");
        if self.leaf_listen.is_some() {
            let _ = writeln!(
                text,
                "  # How servers of regions, which have no streams, name it.\n  domain: {DOMAIN}"
            );
        }
        text.push_str(STORE);
        text.push_str("}\n\n");
        if let Some(listen) = self.leaf_listen {
            text.push_str(&self.leafs(listen));
        }
        let _ = writeln!(
            text,
            "accounts {{\n  {ACCOUNT} {{\n    jetstream: enabled\n    users: ["
        );
        for (identity, permissions) in self.users {
            text.push_str(&user(identity, permissions));
        }
        text.push_str("    ]\n  }\n}\n");
        text
    }

    fn leafs(&self, listen: &str) -> String {
        let tls = match self.tls {
            true => tls("server", 2),
            false => String::new(),
        };
        format!(
            "# The servers of regions. They must use the address they are given, and not those that\n\
             # the hub knows of itself, which may be unreachable from there.\n\
             leafnodes {{\n  listen: \"{listen}\"\n  no_advertise: true\n{tls}}}\n\n"
        )
    }
}

/// TLS with the certificate `name`, asking for one in turn.
pub(crate) fn tls(name: &str, indent: usize) -> String {
    let pad = " ".repeat(indent);
    format!(
        "{pad}tls {{\n\
         {pad}  cert_file: \"./tls/{name}.pem\"\n\
         {pad}  key_file: \"./tls/{name}.key\"\n\
         {pad}  ca_file: \"./tls/ca.pem\"\n\
         {pad}  verify: true\n\
         {pad}}}\n\n"
    )
}

/// An entry among the users of an account.
pub(crate) fn user(identity: &Identity, permissions: &Permissions) -> String {
    let mut text = format!(
        "      # {}\n      {{ nkey: {}, permissions: {{\n",
        identity.role, identity.public
    );
    for (what, subjects) in [
        ("publish", &permissions.publish),
        ("subscribe", &permissions.subscribe),
    ] {
        let _ = writeln!(text, "          {what}: {{ allow: [");
        for subject in subjects {
            let _ = writeln!(text, "            \"{subject}\"");
        }
        text.push_str("          ] }\n");
    }
    if permissions.responds {
        text.push_str("          allow_responses: { max: 1, expires: \"1m\" }\n");
    }
    text.push_str("      } }\n");
    text
}

const HEAD: &str = "\
# The hub of an A3S system, written by `a3s-coordinator init`. Start it in this directory:
#   nats-server --config nats.conf
# The permissions of each key are generated from one table; docs/security.md explains them.

";

const LIMITS: &str = "\
# Larger bodies travel as objects: there is no reason to raise it.
max_payload: 1MB
max_pending: 64MB
";

const PINGS: &str = "ping_interval: \"20s\"\nping_max: 2\n\n";

/// As `deploy/leaf` has it.
pub(crate) const LINK_PINGS: &str = "\
# A link that died without a word is noticed within 15 s, on both ends: until then the hub sends
# tasks to where nobody gets them.
ping_interval: \"5s\"
ping_max: 2

";

const STORE: &str = "  \
  # Tasks, results and dead letters. Everything that must survive is here: back it up.
  store_dir: \"./jetstream\"
  max_memory_store: 256MB
  max_file_store: 32GB
  # A task is acknowledged when the operating system has it: a crash of any process loses nothing,
  # a power cut up to two minutes. `always` closes that gap and costs throughput (the nats.conf of
  # the project has the numbers).
  # sync_interval: always
";
