//! Three servers, each started with `deploy/cluster/nats.conf` and an environment of its own.

use std::net::TcpListener;

use a3s_shared::runtime::locate::locate;
use a3s_testkit::{Process, eventually};
use tempfile::TempDir;

use crate::{BOUND, monitor, shipped};

/// Who coordinators and workers are. As a bare word of the configuration it would be a number.
pub(crate) const USER: &str = "a3s";
pub(crate) const PASSWORD: &str = "123456789012345678901234567890";

/// What servers say to each other.
const ROUTE_PASSWORD: &str = "r0ute";

/// The three.
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    dir: TempDir,
}

/// One of them, which may be down.
struct Node {
    client: String,
    monitor: String,
    cluster: String,
    process: Option<Process>,
}

impl Nodes {
    /// Starts them and waits until they have agreed on who leads.
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut addresses = free_addresses::<9>().into_iter();
        let mut next = || addresses.next().expect("three for each of three");
        let nodes = (0..3).map(|_| Node {
            client: next(),
            monitor: next(),
            cluster: next(),
            process: None,
        });
        let nodes = nodes.collect();
        let mut nodes = Self { nodes, dir };
        for n in 0..3 {
            nodes.launch(n);
        }
        for n in 0..3 {
            nodes.is_well(n).await;
        }
        nodes
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        let urls = self.nodes.iter().map(|n| format!("nats://{}", n.client));
        urls.collect::<Vec<_>>().join(",")
    }

    /// What server `n` answers at its monitoring address.
    pub(crate) async fn ask(&self, n: usize, path: &str) -> Result<serde_json::Value, String> {
        monitor::get(&self.nodes[n].monitor, path).await
    }

    /// Which of them leads the stream of tasks.
    pub(crate) async fn leader(&self) -> usize {
        eventually("a leader of A3S_TASKS", BOUND, async || {
            for n in self.up() {
                let Ok(all) = self.ask(n, "/jsz?streams=true").await else {
                    continue;
                };
                let streams = all["account_details"][0]["stream_detail"].as_array();
                let tasks = streams
                    .into_iter()
                    .flatten()
                    .find(|s| s["name"] == "A3S_TASKS");
                let leader = tasks.and_then(|s| s["cluster"]["leader"].as_str());
                let leader = leader.and_then(|name| name.strip_prefix('n')?.parse::<usize>().ok());
                // Who was told of no change yet may name one that is down.
                if let Some(leader) = leader.filter(|n| self.nodes[*n].process.is_some()) {
                    return Ok(leader);
                }
            }
            Err("nobody leads")
        })
        .await
    }

    /// Those that run.
    pub(crate) fn up(&self) -> impl Iterator<Item = usize> {
        (0..3).filter(|n| self.nodes[*n].process.is_some())
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, n: usize) {
        self.nodes[n].process.take().expect("it runs").kill();
    }

    /// Starts a killed one, and waits until it has everything that it missed.
    pub(crate) async fn start_again(&mut self, n: usize) {
        self.launch(n);
        self.is_well(n).await;
    }

    fn launch(&mut self, n: usize) {
        let binary = locate().unwrap_or_else(|error| panic!("{error}"));
        let node = &self.nodes[n];
        let quoted = |text: &str| format!("{text:?}");
        let routes: Vec<_> = self.nodes.iter().map(|n| route(&n.cluster)).collect();
        let store = self.dir.path().join(format!("n{n}"));
        let process = Process::at(binary.path)
            .arg("--config")
            .arg(shipped("cluster/nats.conf"))
            .env("A3S_SERVER_NAME", quoted(&format!("n{n}")))
            .env("A3S_LISTEN", quoted(&node.client))
            .env("A3S_MONITOR", quoted(&node.monitor))
            .env("A3S_CLUSTER_LISTEN", quoted(&node.cluster))
            .env("A3S_ROUTES", format!("{routes:?}"))
            .env("A3S_ROUTE_PASSWORD", quoted(ROUTE_PASSWORD))
            .env("A3S_STORE", quoted(&store.display().to_string()))
            .env("A3S_USER", quoted(USER))
            .env("A3S_PASSWORD", quoted(PASSWORD));
        self.nodes[n].process = Some(process.start());
    }

    /// Waits until a server has found the others and all that they store.
    async fn is_well(&self, n: usize) {
        eventually(&format!("a healthy n{n}"), BOUND, async || {
            let health = self.ask(n, "/healthz").await?;
            let cluster = self.ask(n, "/jsz").await?["meta_cluster"].clone();
            let leader = cluster["leader"].as_str().unwrap_or_default();
            let well = health["status"] == "ok" && !leader.is_empty();
            let well = well && cluster["cluster_size"] == 3;
            well.then_some(())
                .ok_or_else(|| format!("{health} {cluster}"))
        })
        .await;
    }
}

/// The address of a server for the others.
fn route(address: &str) -> String {
    format!("nats-route://a3s-route:{ROUTE_PASSWORD}@{address}")
}

/// Addresses that nobody has. Somebody could take one before its server does: then that server
/// does not start, and says so.
fn free_addresses<const N: usize>() -> Vec<String> {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let addresses = listeners.iter().map(|listener| {
        let address = listener.local_addr();
        address.expect("a bound socket has an address").to_string()
    });
    addresses.collect()
}
