//! The containers of `compose.yaml`, as a project of their own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use a3s_shared::broker::{Broker, Outgoing, TaskStream};
use a3s_shared::protocol::{Route, SessionLane};
use a3s_shared::runtime::{ConnectOptions, Role, connect};
use a3s_testkit::eventually;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::docker::{compose, docker, output_of};
use crate::images::Images;

/// A password that must stay text all the way: as a number it is out of every range.
const PASSWORD: &str = "123456789012345678901234567890";

/// For something to happen in a container of a busy machine.
pub(crate) const BOUND: Duration = Duration::from_secs(120);

/// How long compose may need to stop everything: workers that hang take 45 s (compose.yaml).
const STOPPED_WITHIN: Duration = Duration::from_secs(40);

/// A running project. Taken down on drop, after showing its logs if the test fails.
pub(crate) struct Stack {
    project: String,
    tag: String,
    port: u16,
    workspace: TempDir,
    environment: &'static [(&'static str, &'static str)],
}

impl Stack {
    /// Starts everything; whether it is ready is for the first task to show.
    pub(crate) fn up(images: &Images) -> Self {
        Self::up_with(images, "a3s", &[])
    }

    /// As [`Stack::up`], under a name of its own and with more in the environment of compose.
    pub(crate) fn up_with(
        images: &Images,
        name: &str,
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        let stack = Self::not_started(images, name, environment);
        stack.run(&["up", "--detach", "--no-build"]);
        stack
    }

    /// As [`Stack::up_with`], and nothing is started.
    pub(crate) fn not_started(
        images: &Images,
        name: &str,
        environment: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            project: format!("{name}-{}", images.tag),
            tag: images.tag.clone(),
            port: free_port(),
            workspace: workspace(),
            environment,
        }
    }

    /// Submits a task in the coordinator's container and returns what is printed.
    #[track_caller]
    pub(crate) fn submit(&self, arguments: &[&str]) -> String {
        let submit = ["submit", "--timeout", "2m"];
        self.coordinator(&[&submit, arguments].concat())
    }

    /// Runs a verb in the coordinator's container and returns what it prints.
    #[track_caller]
    pub(crate) fn coordinator(&self, arguments: &[&str]) -> String {
        let exec = ["exec", "-T", "coordinator", "a3s-coordinator"];
        self.run(&[&exec, arguments].concat())
    }

    pub(crate) async fn both_workers_are_there(&self) {
        eventually("two workers", BOUND, async || {
            let workers = self.coordinator(&["workers", "--json"]);
            let two = workers.lines().count() == 2;
            two.then_some(()).ok_or(workers)
        })
        .await;
    }

    pub(crate) async fn the_coordinator_is_healthy(&self) {
        let container = self.container("coordinator");
        eventually("a healthy coordinator", BOUND, async || {
            let health = inspect(&container, "{{.State.Health.Status}}");
            (health == "healthy").then_some(()).ok_or(health)
        })
        .await;
    }

    /// The container of a service that has one.
    #[track_caller]
    pub(crate) fn container(&self, service: &str) -> String {
        let mut all = self.containers(service);
        assert_eq!(all.len(), 1, "containers of {service}");
        all.remove(0)
    }

    /// The containers of a service.
    #[track_caller]
    pub(crate) fn containers(&self, service: &str) -> Vec<String> {
        let ids = self.run(&["ps", "--quiet", service]);
        ids.lines().map(str::to_owned).collect()
    }

    /// What tasks have written to a file of the workspace.
    #[track_caller]
    pub(crate) fn written(&self, file: &str) -> String {
        let text = fs::read_to_string(self.workspace.path().join(file));
        text.unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    pub(crate) fn the_workspace_is_read_only(&self) {
        let write = r#"{"path":"README.md","content":"changed"}"#;
        let exec = ["exec", "-T", "coordinator", "a3s-coordinator", "submit"];
        let refused = self.attempt(&[&exec[..], &["write", write]].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{said}");
        let readme = fs::read_to_string(self.workspace.path().join("README.md"));
        assert_eq!(readme.expect("it is still there"), "the first line\n");
    }

    pub(crate) fn a_wrong_password_is_refused(&self) {
        let run = [
            "run",
            "--rm",
            "-T",
            "--no-deps",
            "-e",
            "NATS_PASSWORD=wrong",
        ];
        let refused = self.attempt(&[&run[..], &["coordinator", "workers"]].concat());
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(3), "{said}");
        assert!(said.to_lowercase().contains("authorization"), "{said}");
    }

    /// Publishes, from this machine, a task that nobody takes.
    pub(crate) async fn leave_a_task(&self) {
        let broker = self.broker().await;
        let task = Outgoing {
            subject: waiting(&broker),
            body: r#"{"command_type":"read","payload":{}}"#.into(),
            ..Outgoing::default()
        };
        let stored = timeout(BOUND, broker.publish(&task)).await;
        stored.expect("an answer").expect("the task is stored");
    }

    pub(crate) async fn the_task_is_still_there(&self) {
        let broker = self.broker().await;
        let stream = broker.names().tasks(TaskStream::Pool);
        let found = broker.scan(&stream, &waiting(&broker), 1).await;
        assert_eq!(found.expect("the stream is readable").len(), 1);
    }

    /// By the port that is published on this machine.
    async fn broker(&self) -> Broker {
        let url = format!("nats://127.0.0.1:{}", self.port);
        let options = ConnectOptions::to(url).with_user("a3s", PASSWORD);
        let options = options.waiting_for_server();
        let connection = timeout(BOUND, connect(&options, &Role::worker("a3s-e2e"))).await;
        let connection = connection
            .expect("a server")
            .expect("it takes the password");
        Broker::new(connection.client, None, "a3s").expect("a valid prefix")
    }

    /// A new container for the server, on the volume of the old one.
    pub(crate) fn replace_the_server(&self) {
        self.run(&["rm", "--stop", "--force", "nats"]);
        self.run(&["up", "--detach", "--no-build", "nats"]);
    }

    /// Takes everything down and looks that nothing is left.
    pub(crate) fn down(self) {
        let began = Instant::now();
        self.run(&["down", "--volumes"]);
        let took = began.elapsed();
        assert!(took < STOPPED_WITHIN, "somebody did not drain: {took:?}");
        let label = format!("label=com.docker.compose.project={}", self.project);
        let kinds: [&[&str]; 3] = [&["ps", "--all"], &["volume", "ls"], &["network", "ls"]];
        for kind in kinds {
            let list = ["--quiet", "--filter", &label];
            let left = output_of(&mut docker([kind, &list].concat()));
            assert_eq!(left, "", "docker {kind:?}");
        }
    }

    /// Runs compose, which must succeed, and returns what it prints.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        output_of(&mut self.command(arguments))
    }

    /// As [`Stack::run`], whether or not it succeeds.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).output();
        output.expect("compose can be run")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = compose();
        command
            .args(["--file", "compose.yaml", "--project-name", &self.project])
            .args(arguments)
            .env("A3S_PASSWORD", PASSWORD)
            .env("A3S_TAG", &self.tag)
            .env("A3S_PORT", self.port.to_string())
            .env("A3S_WORKSPACE", self.workspace.path())
            .env_remove("A3S_WORKSPACE_MODE")
            .env_remove("A3S_UID")
            .env_remove("A3S_LEAF_PASSWORD")
            .env_remove("COMPOSE_PROFILES")
            .envs(self.environment.iter().copied());
        command
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let logs = self.attempt(&["logs", "--no-color"]);
            eprintln!("{}", String::from_utf8_lossy(&logs.stdout));
        }
        let _ = self.attempt(&["down", "--volumes", "--timeout", "1"]);
    }
}

/// The subject of a task that waits: its pool has no workers.
fn waiting(broker: &Broker) -> String {
    let route = Route::Pool("nobody".to_owned());
    broker.names().task("demo", SessionLane::Query, &route)
}

/// What `docker inspect` says of a container.
#[track_caller]
pub(crate) fn inspect(container: &str, format: &str) -> String {
    let said = output_of(&mut docker(["inspect", "--format", format, container]));
    said.trim().to_owned()
}

/// What the workers see: open to everyone, for they run as nobody in particular. (Whether they may
/// change it is for compose to say, which mounts it.)
fn workspace() -> TempDir {
    let workspace = tempfile::tempdir().expect("a temporary directory");
    let open = fs::Permissions::from_mode(0o777);
    fs::set_permissions(workspace.path(), open).expect("it is ours");
    let readme = workspace.path().join("README.md");
    fs::write(&readme, "the first line\n").expect("it is written");
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(readme, readable).expect("it is ours");
    workspace
}

/// A port that was free a moment ago: compose cannot be asked which one it took.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
