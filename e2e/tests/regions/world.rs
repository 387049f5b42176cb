//! A hub and two regions, each on a host of its own, with the distance between them: the
//! configurations of `deploy/leaf` as they are, and keys made for the occasion.

use std::path::{Path, PathBuf};
use std::time::Duration;

use a3s_shared::runtime::locate::locate;
use a3s_testkit::{Delay, Host, Lack, Process, ProcessBuilder, Proxy, binary, eventually};
use nkeys::KeyPair;
use tempfile::TempDir;

/// The longest that anything here may take on a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(240);

/// The lease, in seconds: short, so that what was lost with a link is soon somebody else's.
const ACK_WAIT: &str = "3";

/// The round trip between the hub and each region.
const EU: Duration = Duration::from_millis(40);
const AP: Duration = Duration::from_millis(150);

/// Where servers answer questions about themselves, each on its host's loopback.
const MONITOR: &str = "8222";

/// What a server writes when its link to the hub is there, and both know what is where.
const LINKED: &str = "JetStream using domains";

/// A key pair: the seed in a file, for programs, and both halves as text, for configurations.
struct Keys {
    seed: String,
    public: String,
    file: PathBuf,
}

impl Keys {
    fn make(dir: &Path, name: &str) -> Self {
        let pair = KeyPair::new_user();
        let file = dir.join(format!("{name}.nk"));
        let seed = pair.seed().expect("a new pair has its seed");
        std::fs::write(&file, &seed).expect("the seed is written");
        let public = pair.public_key();
        Self { seed, public, file }
    }
}

/// The hub and the regions. Processes are declared, and so ended, before their hosts.
pub(crate) struct World {
    pub(crate) hub: Hub,
    pub(crate) eu: Region,
    pub(crate) ap: Region,
    dir: TempDir,
}

/// Where the streams and the coordinators are.
pub(crate) struct Hub {
    server: Option<Process>,
    start: Vec<(&'static str, String)>,
    coordinator: Keys,
    host: Host,
}

/// A region: a server that keeps nothing, and its link to the hub.
pub(crate) struct Region {
    server: Process,
    /// The seed that its link is made with.
    key: PathBuf,
    workers: Keys,
    inbox: String,
    workspace: PathBuf,
    /// Carries the link; delays it where the kernel cannot.
    _link: Proxy,
    host: Host,
}

impl World {
    /// Starts it; `None` where there can be no hosts, which is said. A missing program is an error
    /// in CI.
    pub(crate) async fn start() -> Option<Self> {
        Self::at(EU, AP).await
    }

    /// As [`World::start`], with other round trips between the hub and its regions.
    pub(crate) async fn at(eu_away: Duration, ap_away: Duration) -> Option<Self> {
        if let Some(lacking) = Host::lacking() {
            // What can be installed is there in CI; what its machine forbids cannot be helped.
            let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
            let avoidable = matches!(lacking, Lack::Program(_));
            assert!(!(ci && avoidable), "regions cannot be tested: {lacking}");
            eprintln!("SKIPPED: regions were not tested: {lacking}");
            return None;
        }
        let dir = tempfile::tempdir().expect("a temporary directory");
        let keys = ["eu", "ap"].map(|name| Keys::make(dir.path(), name));
        let hub = Hub::start(dir.path(), &keys).await;
        let [eu, ap] = keys;
        let eu = Region::start(dir.path(), "eu", &eu, &hub, eu_away).await;
        let ap = Region::start(dir.path(), "ap", &ap, &hub, ap_away).await;
        Some(Self { hub, eu, ap, dir })
    }

    /// A program beside everything else; its path.
    pub(crate) fn program(&self, name: &str, content: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.file(name, content);
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, all).expect("it may be run");
        path
    }

    /// A file beside everything else; its path.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).expect("the file is written");
        path
    }
}

impl Hub {
    async fn start(dir: &Path, regions: &[Keys; 2]) -> Self {
        let coordinator = Keys::make(dir, "coordinator");
        let start = vec![
            ("A3S_STORE", dir.join("store").display().to_string()),
            ("A3S_COORDINATOR_KEY", coordinator.public.clone()),
            ("A3S_LEAF_EU_KEY", regions[0].public.clone()),
            ("A3S_LEAF_AP_KEY", regions[1].public.clone()),
        ];
        let mut hub = Self {
            server: None,
            start,
            coordinator,
            host: Host::new(),
        };
        hub.start_again().await;
        hub
    }

    /// Starts the stopped or killed server on its store.
    pub(crate) async fn start_again(&mut self) {
        self.server = Some(nats_server(&self.host, "hub.conf", &self.start).await);
    }

    /// Kills the server.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// A coordinator beside the hub.
    pub(crate) fn coordinator(&self, arguments: &[&str]) -> Process {
        let coordinator = self.host.process(binary("a3s-coordinator"));
        let coordinator = coordinator.args(["--nats-url", "nats://127.0.0.1:4222", "--nkey"]);
        let coordinator = coordinator.arg(&self.coordinator.file).args(arguments);
        coordinator.env("A3S_ACK_WAIT", ACK_WAIT).start()
    }

    /// Runs a verb of the coordinator to its end and returns what it printed.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        let mut coordinator = self.coordinator(arguments);
        let status = coordinator.wait(BOUND).await;
        assert!(status.success(), "{arguments:?}: {}", coordinator.stderr());
        coordinator.stdout()
    }

    /// Any program beside the hub, which finds its server and its key in the environment.
    pub(crate) fn process_as_coordinator(&self, program: &Path) -> ProcessBuilder {
        let process = self.host.process(program);
        let process = process.env("NATS_URL", "nats://127.0.0.1:4222");
        process.env("NATS_NKEY", &self.coordinator.file)
    }

    /// The `nats` CLI at the hub, as a coordinator.
    pub(crate) fn nats(&self) -> ProcessBuilder {
        nats(&self.host, &self.coordinator.file)
    }

    /// The `nats` CLI at the hub, with the key of a region's link.
    pub(crate) fn nats_as(&self, region: &Region) -> ProcessBuilder {
        nats(&self.host, &region.key).args(["--inbox-prefix", &region.inbox])
    }

    /// A worker beside the hub.
    pub(crate) async fn worker(&self, id: &str, dir: &Path, arguments: &[&str]) -> Process {
        let worker = self.host.process(binary("a3s-worker"));
        let worker = worker.args(["--nats-url", "nats://127.0.0.1:4222", "--nkey"]);
        let worker = worker.arg(&self.coordinator.file);
        ready(worker, id, dir, arguments).await
    }
}

impl Region {
    async fn start(dir: &Path, name: &str, leaf: &Keys, hub: &Hub, distance: Duration) -> Self {
        let host = Host::new();
        let there = format!("nats://{}:7422", hub.host.address());
        let link = Proxy::on(host.gateway(), &there).await;
        if !distance.is_zero() && host.delay(distance / 2) == Delay::Proxy {
            eprintln!("{name}: this kernel has no netem, a proxy delays the link");
            link.delay(distance / 2);
        }
        let workers = Keys::make(dir, &format!("{name}-workers"));
        let inbox = format!("_INBOX_{name}");
        let url = link.url().replace("nats://", "nats-leaf://");
        let environment = [
            ("A3S_LEAF_NAME", format!("a3s-{name}")),
            ("A3S_HUB_URL", url),
            ("A3S_LEAF_SEED", leaf.seed.clone()),
            ("A3S_WORKER_KEY", workers.public.clone()),
            ("A3S_INBOX", format!("{inbox}.>")),
        ];
        let server = nats_server(&host, "leaf.conf", &environment).await;
        server.wait_for(LINKED, BOUND).await;
        let workspace = dir.join(name);
        std::fs::create_dir(&workspace).expect("the region's directory is made");
        Self {
            server,
            key: leaf.file.clone(),
            workers,
            inbox,
            workspace,
            _link: link,
            host,
        }
    }

    /// A worker of the region, in the region's directory, that knows its own server alone.
    pub(crate) async fn worker(&self, id: &str, arguments: &[&str]) -> Process {
        let worker = self.host.process(binary("a3s-worker"));
        let worker = worker.args(["--nats-url", "nats://127.0.0.1:4222", "--js-domain", "hub"]);
        let worker = worker.args(["--inbox-prefix", &self.inbox, "--nkey"]);
        let worker = worker.arg(&self.workers.file);
        ready(worker, id, &self.workspace, arguments).await
    }

    /// The `nats` CLI in the region, with the key of its workers.
    pub(crate) fn nats(&self) -> ProcessBuilder {
        let nats = nats(&self.host, &self.workers.file);
        nats.args(["--inbox-prefix", &self.inbox, "--js-domain", "hub"])
    }

    /// The directory that its workers work in.
    pub(crate) fn workspace(&self) -> &Path {
        &self.workspace
    }

    /// What the monitoring page of its server says.
    pub(crate) async fn monitor(&self, page: &str) -> String {
        let ask = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{MONITOR}; printf 'GET /{page} HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
        );
        let mut answer = self.host.process("bash").args(["-c", &ask]).start();
        answer.wait(BOUND).await;
        let answer = answer.stdout();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
        body.unwrap_or_else(|| panic!("no answer: {answer}"))
            .to_owned()
    }

    /// Cuts the region off. Nobody is told: packets vanish.
    pub(crate) fn cut(&self) {
        self.host.unplug();
    }

    /// Ends the cut.
    pub(crate) fn heal(&self) {
        self.host.plug();
    }

    /// How often the link to the hub was made.
    pub(crate) fn links(&self) -> usize {
        self.server.stderr().matches(LINKED).count()
    }

    /// Waits until the link was made more often than `before`.
    pub(crate) async fn is_linked_again(&self, before: usize) {
        eventually("the link", BOUND, || {
            let links = self.links();
            std::future::ready((links > before).then_some(()).ok_or("it is down"))
        })
        .await;
    }
}

fn nats(host: &Host, seed: &Path) -> ProcessBuilder {
    let nats = host.process("nats").arg("--nkey").arg(seed);
    nats.args(["--server", "nats://127.0.0.1:4222"])
}

async fn ready(worker: ProcessBuilder, id: &str, dir: &Path, arguments: &[&str]) -> Process {
    let worker = worker.args(["--worker-id", id, "--workspace"]).arg(dir);
    let worker = worker.args(arguments).start();
    worker.wait_for("ready for tasks", BOUND).await;
    worker
}

/// A nats-server with one of the configurations that are deployed.
async fn nats_server(host: &Host, config: &str, environment: &[(&str, String)]) -> Process {
    let program = locate().unwrap_or_else(|error| panic!("{error}")).path;
    let config = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy/leaf")
        .join(config);
    let mut server = host.process(program).arg("--config").arg(config);
    server = server.args(["--http_port", MONITOR]);
    for (name, value) in environment {
        server = server.env(name, value);
    }
    let server = server.start();
    server.wait_for("Server is ready", BOUND).await;
    server
}
