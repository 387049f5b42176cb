//! Who takes part in a run, and how each process is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use a3s_testkit::Proxy;

use super::ledger::SCRIPT;
use super::member::command;
use super::server::Server;
use super::workload::{Home, TOOL};

/// How the processes of a run are started.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    /// This program.
    pub(crate) coordinator: PathBuf,
    /// Our worker.
    pub(crate) worker: PathBuf,
    /// How many of it. The last one serves the session with workers of its own.
    pub(crate) workers: usize,
    /// Shell commands that start workers of other makes; they serve pool `default`.
    pub(crate) others: Vec<String>,
    /// Tasks that a worker runs at a time.
    pub(crate) slots: usize,
    /// What leads to the server and how leases are made, as environment variables; `NATS_URL` is
    /// that of the server itself.
    pub(crate) join: Vec<(String, String)>,
}

/// A way to the server that can be broken, and the environment that leads there; to somebody
/// else's server the straight one.
pub(super) async fn way(
    server: Option<&Server>,
    join: &[(String, String)],
) -> (Option<Proxy>, Vec<(String, String)>) {
    let mut join = join.to_vec();
    let Some(server) = server else {
        return (None, join);
    };
    let proxy = Proxy::to(server.url()).await;
    join.retain(|(name, _)| name != "NATS_URL");
    join.push(("NATS_URL".to_owned(), proxy.url().to_owned()));
    (Some(proxy), join)
}

/// The id that a worker answers under, by its place and its life.
pub(super) fn worker_id(name: &str, place: usize, life: u32) -> String {
    format!("{name}-w{place}-{life}")
}

/// How the worker at `place` is started, each time.
pub(super) fn worker(
    dir: &Path,
    name: &str,
    cast: &Cast,
    place: usize,
    join: Vec<(String, String)>,
) -> impl Fn(u32) -> Command + use<> {
    let (cast, dir, name) = (cast.clone(), dir.to_owned(), name.to_owned());
    move |life| {
        let log = dir.join(format!("worker-{place}.log"));
        let work = dir.join("work");
        let mut command = match cast.others.get(place.wrapping_sub(cast.workers)) {
            Some(other) => {
                let mut command = command(Path::new("/bin/sh"), &join, &log);
                // `exec`: the process that is killed is the worker, not a shell around it.
                command.arg("-c").arg(format!("exec {other}"));
                command.env("A3S_CHAOS_TOOL", dir.join(SCRIPT));
                command
            }
            None => {
                let mut command = command(&cast.worker, &join, &log);
                command
                    .arg("--tool")
                    .arg(format!("{TOOL}={}", dir.join(SCRIPT).display()));
                if place + 1 == cast.workers {
                    command.arg("--session-id").arg(Home::Own.session(&name));
                }
                command
            }
        };
        command
            .env("A3S_WORKER_ID", worker_id(&name, place, life))
            .env("A3S_WORKSPACE", work)
            .env("A3S_CONCURRENCY", cast.slots.to_string());
        command
    }
}
