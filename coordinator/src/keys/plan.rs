//! All files of one installation, made in memory: what is written is written at once or not.

use std::collections::BTreeSet;
use std::path::Path;

use a3s_shared::broker::Names;
use a3s_shared::protocol::{DEFAULT_POOL, Serves, SessionLane};

use super::certificates::{Authority, Certificate, Use};
use super::files::File;
use super::hub::{DOMAIN, Hub, LEAF_PORT};
use super::identity::Identity;
use super::leaf::Leaf;
use super::permissions::{Permissions, permissions};
use super::role::{Role, region_worker};
use super::settings;

/// What an installation is to have.
#[derive(Debug, Clone)]
pub(crate) struct Wishes {
    /// The first token of all subjects.
    pub(crate) names: Names,
    /// Pools that have workers; regions have one each, by their name.
    pub(crate) pools: Vec<String>,
    /// Sessions that have a coordinator and workers of their own.
    pub(crate) sessions: Vec<String>,
    /// Regions behind a leaf node.
    pub(crate) regions: Vec<String>,
    /// Lanes that have a key each; empty: one key for all lanes.
    pub(crate) lanes: Vec<SessionLane>,
    /// Whether everything is encrypted and certified.
    pub(crate) tls: bool,
    /// How servers are reached, beside `localhost`. The first one goes into addresses.
    pub(crate) hosts: Vec<String>,
    /// Where the hub listens.
    pub(crate) listen: String,
    /// Where the hub listens for regions.
    pub(crate) leaf_listen: String,
}

/// Why no files can be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// A host is no name.
    #[error("cannot make certificates: {0}; --host takes names and addresses of machines")]
    Certificate(#[from] rcgen::Error),
    /// No key.
    #[error("cannot make a key: {0}")]
    Key(#[from] nkeys::error::Error),
}

impl Wishes {
    /// Every role of the installation, those with most rights first.
    pub(crate) fn roles(&self) -> Vec<Role> {
        let mut roles = vec![Role::Coordinator];
        let mut pools: BTreeSet<&str> = self.pools.iter().map(String::as_str).collect();
        if pools.is_empty() {
            pools.insert(DEFAULT_POOL);
        }
        // A region's workers have one key for all lanes: the leaf has one for all of them too.
        for region in &self.regions {
            pools.remove(region.as_str());
        }
        for session in &self.sessions {
            roles.push(Role::Session(session.clone()));
        }
        for pool in pools {
            roles.extend(self.workers(&Serves::Pool(pool.to_owned())));
        }
        for session in &self.sessions {
            roles.extend(self.workers(&Serves::Session(session.clone())));
        }
        for region in &self.regions {
            roles.extend([Role::Leaf(region.clone()), region_worker(region)]);
        }
        roles.push(Role::Observer);
        roles
    }

    fn workers(&self, serves: &Serves) -> Vec<Role> {
        let worker = |lanes: &[SessionLane]| Role::Worker {
            serves: serves.clone(),
            lanes: lanes.to_vec(),
        };
        match self.lanes[..] {
            [] => vec![worker(&SessionLane::ALL)],
            ref lanes => lanes.iter().map(|lane| worker(&[*lane])).collect(),
        }
    }

    fn is_region(&self, role: &Role) -> bool {
        self.regions
            .iter()
            .any(|region| region_worker(region) == *role)
    }

    /// The files, for the directory `dir`, with new keys.
    ///
    /// # Errors
    /// [`PlanError`]
    pub(crate) fn files(&self, dir: &Path) -> Result<Vec<File>, PlanError> {
        let identities: Result<Vec<Identity>, _> =
            self.roles().into_iter().map(Identity::new).collect();
        let identities = identities?;
        let mut files = self.identity_files(&identities, dir);
        if self.tls {
            files.extend(self.certificates(&identities)?);
        }
        files.extend(self.servers(identities));
        Ok(files)
    }

    fn identity_files(&self, identities: &[Identity], dir: &Path) -> Vec<File> {
        let mut files = Vec::new();
        for identity in identities {
            let (role, name) = (&identity.role, identity.role.name());
            files.push(File::secret(format!("keys/{name}.nk"), identity.file()));
            // A leaf's server reads its configuration alone.
            if !matches!(role, Role::Leaf(_)) {
                let leaf = self.is_region(role);
                let url = self.url(leaf);
                let text = settings::text(role, dir, &url, self.tls, leaf);
                files.push(File::plain(format!("{name}.env"), text));
            }
        }
        files
    }

    /// Where a role connects: behind a leaf, on the machine of the leaf.
    fn url(&self, behind_leaf: bool) -> String {
        let scheme = if self.tls { "tls" } else { "nats" };
        let (host, port) = self
            .listen
            .rsplit_once(':')
            .unwrap_or((&self.listen, "4222"));
        match behind_leaf {
            true => format!("{scheme}://localhost:4222"),
            false => {
                let everywhere = ["0.0.0.0", "[::]", "::"].contains(&host);
                let named = self.hosts.first().map(String::as_str);
                let host = named.unwrap_or(if everywhere { "localhost" } else { host });
                format!("{scheme}://{host}:{port}")
            }
        }
    }

    fn certificates(&self, identities: &[Identity]) -> Result<Vec<File>, PlanError> {
        let authority = Authority::new()?;
        let mut hosts = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        hosts.extend(self.hosts.iter().cloned());
        let mut files = Vec::from(pair("ca", authority.own()));
        files.extend(pair(
            "server",
            authority.sign("a3s-hub", &hosts, Use::Server)?,
        ));
        for identity in identities {
            let r#use = match identity.role {
                Role::Leaf(_) => Use::Both,
                _ => Use::Client,
            };
            let name = identity.role.name();
            files.extend(pair(&name, authority.sign(&name, &hosts, r#use)?));
        }
        Ok(files)
    }

    fn servers(&self, identities: Vec<Identity>) -> Vec<File> {
        let of = |role: &Role, domain| permissions(role, &self.names, domain);
        let mut files = Vec::new();
        let hub = self.hosts.first().map_or("localhost", String::as_str);
        let port = self
            .leaf_listen
            .rsplit_once(':')
            .map_or("7422", |(_, port)| port);
        let hub = format!("{hub}:{port}");
        for region in &self.regions {
            let find = |role: &Role| identities.iter().find(|identity| identity.role == *role);
            let worker = region_worker(region);
            let (Some(identity), Some(workers)) =
                (find(&Role::Leaf(region.clone())), find(&worker))
            else {
                continue;
            };
            let leaf = Leaf {
                region,
                listen: "127.0.0.1:4222",
                hub: &hub,
                tls: self.tls,
                identity,
                workers: &[(workers, of(&worker, Some(DOMAIN)))],
            };
            files.push(File::secret(format!("leaf-{region}.conf"), leaf.text()));
        }
        // The region's workers are known to their leaf alone.
        let users: Vec<(Identity, Permissions)> = identities
            .into_iter()
            .filter(|identity| !self.is_region(&identity.role))
            .map(|identity| {
                let domain = matches!(identity.role, Role::Leaf(_)).then_some(DOMAIN);
                let permissions = of(&identity.role, domain);
                (identity, permissions)
            })
            .collect();
        let hub = Hub {
            listen: &self.listen,
            leaf_listen: (!self.regions.is_empty()).then_some(self.leaf_listen.as_str()),
            tls: self.tls,
            users: &users,
        };
        files.push(File::plain("nats.conf".to_owned(), hub.text()));
        files
    }
}

/// The default of [`Wishes::leaf_listen`].
pub(crate) fn leaf_listen() -> String {
    format!("0.0.0.0:{LEAF_PORT}")
}

fn pair(name: &str, certificate: Certificate) -> [File; 2] {
    [
        File::plain(format!("tls/{name}.pem"), certificate.certificate),
        File::secret(format!("tls/{name}.key"), certificate.key),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes() -> Wishes {
        Wishes {
            names: Names::new("a3s").expect("a valid prefix"),
            pools: Vec::new(),
            sessions: Vec::new(),
            regions: Vec::new(),
            lanes: Vec::new(),
            tls: false,
            hosts: Vec::new(),
            listen: "127.0.0.1:4222".to_owned(),
            leaf_listen: leaf_listen(),
        }
    }

    fn names(wishes: &Wishes) -> Vec<String> {
        wishes.roles().iter().map(Role::name).collect()
    }

    #[test]
    fn without_a_wish_there_is_a_coordinator_a_worker_and_an_observer() {
        assert_eq!(
            names(&wishes()),
            ["coordinator", "worker-pool-default", "observer"]
        );
    }

    #[test]
    fn each_pool_session_and_lane_has_a_key_of_its_own() {
        let wishes = Wishes {
            pools: vec!["eu".into()],
            sessions: vec!["s".into()],
            lanes: vec![SessionLane::Query, SessionLane::Execute],
            ..wishes()
        };
        let expected = [
            "coordinator",
            "coordinator-session-s",
            "worker-pool-eu.query",
            "worker-pool-eu.execute",
            "worker-session-s.query",
            "worker-session-s.execute",
            "observer",
        ];
        assert_eq!(names(&wishes), expected);
    }

    #[test]
    fn secrets_are_secret_and_the_hub_holds_none() {
        let wishes = Wishes {
            regions: vec!["eu".into()],
            tls: true,
            ..wishes()
        };
        let files = wishes.files(Path::new("/x")).expect("files");
        let secret = |text: &str| {
            text.contains("\nSU") || text.contains("nkey: SU") || text.contains("PRIVATE KEY")
        };
        for file in &files {
            assert_eq!(file.secret, secret(&file.text), "{}", file.path);
        }
        let hub = files
            .iter()
            .find(|file| file.path == "nats.conf")
            .expect("the hub's");
        assert!(hub.text.contains("domain: hub"), "{}", hub.text);
        assert!(
            !hub.text.contains("# worker of pool eu"),
            "its leaf knows it: {}",
            hub.text
        );
    }
}
