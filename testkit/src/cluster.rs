//! A real cluster of three nats-servers that replicate what they store.

use std::net::TcpListener;
use std::time::Duration;

use async_nats::jetstream;

use crate::{Server, eventually};

/// How long a cluster may take to elect its leaders on a busy machine.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

/// How long one question may take before it is asked again: a server without a leader does not
/// answer at all.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// Three servers with routes to each other, each with its own store, so that streams with three
/// replicas survive the loss of any one of them. Gone on drop.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
}

impl Cluster {
    /// Starts three servers and waits until they can create streams with three replicas.
    ///
    /// # Panics
    /// When they do not start, or agree on no leader within a minute.
    pub async fn start() -> Self {
        let routes = free_ports();
        let mut servers = Vec::new();
        for (n, port) in routes.iter().enumerate() {
            let list = routes.map(|port| format!("nats://127.0.0.1:{port}"));
            let server = Server::builder()
                .config(&format!("server_name: n{n}"))
                // The shortest that it takes.
                .config("lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"")
                .config(&format!(
                    "cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: {list:?} }}"
                ));
            servers.push(server.start().await);
        }
        let cluster = Self { servers };
        cluster.settled().await;
        cluster
    }

    /// Where clients connect: all three, separated by commas.
    #[must_use]
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(Server::url).collect();
        urls.join(",")
    }

    /// One of the three, to stop, kill and start again.
    ///
    /// # Panics
    /// When `n` is not 0, 1 or 2.
    pub fn server(&mut self, n: usize) -> &mut Server {
        &mut self.servers[n]
    }

    /// The three servers, for who keeps them himself.
    #[must_use]
    pub fn into_servers(self) -> Vec<Server> {
        self.servers
    }

    /// A client that knows all three.
    ///
    /// # Panics
    /// When none of them takes it.
    pub async fn client(&self) -> async_nats::Client {
        let urls: Vec<_> = self.servers.iter().map(Server::url).collect();
        let client = async_nats::connect(urls).await;
        client.unwrap_or_else(|error| panic!("no client on {}: {error}", self.url()))
    }

    /// JetStream on a new client, impatient, so that a question to a server without a leader is
    /// soon asked again.
    pub async fn jetstream(&self) -> jetstream::Context {
        let mut context = jetstream::new(self.client().await);
        context.set_timeout(ANSWERS_WITHIN);
        context
    }

    /// Which of the three leads `stream` now.
    ///
    /// # Panics
    /// When it has no leader within a minute.
    pub async fn leader_of(&self, stream: &str) -> usize {
        let context = self.jetstream().await;
        eventually(
            &format!("a leader of {stream}"),
            SETTLED_WITHIN,
            async || {
                let info = context.get_stream(stream).await;
                let info = info.map_err(|e| e.to_string())?.cached_info().clone();
                let leader = info.cluster.and_then(|cluster| cluster.leader);
                let number = leader.and_then(|name| name.strip_prefix('n')?.parse().ok());
                number.ok_or_else(|| "nobody leads".to_owned())
            },
        )
        .await
    }

    /// Waits until streams with three replicas can be created.
    async fn settled(&self) {
        let context = self.jetstream().await;
        eventually("a cluster that can store", SETTLED_WITHIN, async || {
            let probe = jetstream::stream::Config {
                name: "PROBE".to_owned(),
                subjects: vec!["probe".to_owned()],
                num_replicas: self.servers.len(),
                ..jetstream::stream::Config::default()
            };
            context
                .create_stream(probe)
                .await
                .map_err(|e| e.to_string())
        })
        .await;
        let gone = context.delete_stream("PROBE").await;
        gone.expect("the probe can be deleted");
    }
}

/// Three ports that nobody has. Somebody could take one before its server does: then that server
/// does not start, and says so.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    listeners.map(|listener| {
        let address = listener.local_addr();
        address.expect("a bound socket has an address").port()
    })
}
