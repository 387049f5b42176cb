//! What the page speaks of: a server, a worker, and tasks that nobody takes.

use std::path::PathBuf;
use std::time::Duration;

use a3s_shared::broker::{Broker, Outgoing, Settings};
use a3s_shared::protocol::{Route, SessionLane};
use a3s_shared::runtime::{Role, connect};
use a3s_testkit::{Process, ProcessBuilder, Server, binary, eventually};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::BOUND;

const USER: &str = "a3s";
const PASSWORD: &str = "a password of the test";
const CONFIG: &str = r#"
    authorization { user: a3s, password: "a password of the test" }
    http: "127.0.0.1:-1"
"#;

/// A server with a credential, worker `w1`, and three tasks for pool `gpu`.
pub(crate) struct Stage {
    server: Server,
    directory: TempDir,
    _worker: Process,
}

impl Stage {
    /// Sets it up; the worker is ready when this returns.
    pub(crate) async fn set() -> Self {
        let server = Server::builder().config(CONFIG).start().await;
        let directory = tempfile::tempdir().expect("a temporary directory");
        let readme = directory.path().join("README.md");
        std::fs::write(readme, "the first line of the readme\n").expect("it is written");
        let worker = joined(Process::of("a3s-worker"), &server)
            .args(["--worker-id", "w1"])
            .current_dir(directory.path())
            .start();
        worker.wait_for("ready for tasks", BOUND).await;
        leave_tasks(&server).await;
        Self {
            server,
            directory,
            _worker: worker,
        }
    }

    /// A shell as a user has it who knows the server: our programs are on its path, and no
    /// configuration of whoever runs the test is seen.
    pub(crate) fn shell(&self) -> ProcessBuilder {
        let programs = binary("a3s-coordinator");
        let mut path: Vec<PathBuf> = programs.parent().map(PathBuf::from).into_iter().collect();
        path.extend(std::env::split_paths(
            &std::env::var_os("PATH").unwrap_or_default(),
        ));
        let path = std::env::join_paths(path).expect("PATH has been split at colons");
        joined(Process::at("bash"), &self.server)
            .env("PATH", path)
            .env("HOME", self.directory.path())
            .env("XDG_CONFIG_HOME", self.directory.path())
            .current_dir(self.directory.path())
    }

    /// Waits until a client has subscribed to `subject`: what the `nats` CLI prints before it
    /// does so proves nothing.
    pub(crate) async fn subscribed(&self, subject: &str) {
        let what = format!("a subscription to {subject}");
        eventually(&what, BOUND, async || {
            let connections = self.monitoring("/connz?subs=1").await?;
            let all = connections["connections"].as_array().into_iter().flatten();
            let mut lists = all.filter_map(|one| one["subscriptions_list"].as_array());
            let found = lists.any(|list| list.iter().any(|one| one == subject));
            match found {
                true => Ok(()),
                false => Err::<(), Box<dyn std::error::Error>>(connections.to_string().into()),
            }
        })
        .await;
    }

    async fn monitoring(&self, path: &str) -> Result<Value, Box<dyn std::error::Error>> {
        let ports = std::fs::read_dir(self.server.dir().join("ports"))?;
        let file = ports.last().ok_or("no ports file")??;
        let ports: Value = serde_json::from_slice(&std::fs::read(file.path())?)?;
        let url = ports["monitoring"][0].as_str().ok_or("no monitoring")?;
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (_, body) = answer.split_once("\r\n\r\n").ok_or("no body")?;
        Ok(serde_json::from_str(body)?)
    }
}

fn joined(process: ProcessBuilder, server: &Server) -> ProcessBuilder {
    process
        .env("NATS_URL", server.url())
        .env("NATS_USER", USER)
        .env("NATS_PASSWORD", PASSWORD)
}

/// Three tasks of session `demo` for pool `gpu`.
async fn leave_tasks(server: &Server) {
    let options = server.options().with_user(USER, PASSWORD);
    let connection = connect(&options, &Role::worker("a3s-e2e")).await;
    let connection = connection.expect("the server takes the credential");
    let broker = Broker::new(connection.client.clone(), None, "a3s").expect("a valid prefix");
    let pool = broker.ensure_pool("gpu", &Settings::default()).await;
    pool.expect("the consumers are created");
    let route = Route::Pool("gpu".to_owned());
    let subject = broker.names().task("demo", SessionLane::Query, &route);
    for _ in 0..3 {
        let task = Outgoing {
            subject: subject.clone(),
            body: r#"{"command_type":"read","payload":{"path":"README.md"}}"#.into(),
            ..Outgoing::default()
        };
        let stored = tokio::time::timeout(Duration::from_secs(30), broker.publish(&task)).await;
        stored.expect("an answer").expect("the task is stored");
    }
}
