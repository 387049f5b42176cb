//! A server, a directory and workers in it, and the program to be tested.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use a3s_testkit::{Process, ProcessBuilder, Server, eventually};
use tempfile::TempDir;

/// How long anything may take that should take moments. The machine may be busy.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Where a test plays.
pub(crate) struct Stage {
    pub(crate) server: Server,
    path: PathBuf,
    /// Removed at the end, unless the test plays in a tree that was there before.
    _dir: Option<TempDir>,
}

/// What a finished program leaves.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        Self {
            path: dir.path().canonicalize().expect("it exists"),
            _dir: Some(dir),
            ..Self::at(Path::new(".")).await
        }
    }

    /// A stage in a tree that is there already and stays.
    pub(crate) async fn at(tree: &Path) -> Self {
        Self {
            server: Server::start().await,
            path: tree.canonicalize().expect("it exists"),
            _dir: None,
        }
    }

    /// The directory that the workers see and the program runs in.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, content).expect("a file");
    }

    /// The program, connected to the stage's server, in its directory.
    pub(crate) fn coordinator(&self, arguments: &[&str]) -> ProcessBuilder {
        self.coordinator_in(&self.path(), arguments)
    }

    pub(crate) fn coordinator_in(&self, dir: &Path, arguments: &[&str]) -> ProcessBuilder {
        Process::of("a3s-coordinator")
            .env("NATS_URL", self.server.url())
            .env("A3S_ACK_WAIT", "1")
            .current_dir(dir)
            .args(arguments)
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Done {
        finish(self.coordinator(arguments).start()).await
    }

    /// Runs the program to its end, with this on its standard input.
    pub(crate) async fn run_with(&self, arguments: &[&str], input: &str) -> Done {
        use std::io::Write as _;

        let mut process = self.coordinator(arguments).start();
        let mut stdin = process.stdin().expect("it is piped");
        stdin.write_all(input.as_bytes()).expect("it reads");
        drop(stdin);
        finish(process).await
    }

    /// Starts a worker in the directory, and waits until it is known.
    pub(crate) async fn worker(&self, arguments: &[&str]) -> Process {
        let before = self.workers().await;
        let worker = Process::of("a3s-worker")
            .env("NATS_URL", self.server.url())
            .current_dir(self.path())
            .args(arguments)
            .start();
        eventually("a worker that is known", SOON, || async {
            let known = self.workers().await;
            (known > before)
                .then_some(())
                .ok_or(format!("{known} workers"))
        })
        .await;
        worker
    }

    async fn workers(&self) -> usize {
        let done = self.run(&["workers", "--json"]).await;
        assert_eq!(done.status, 0, "{done:?}");
        done.stdout.lines().count()
    }
}

/// Waits for the end of a program.
pub(crate) async fn finish(mut process: Process) -> Done {
    let status = process.wait(SOON).await;
    Done {
        status: status.code().unwrap_or(-1),
        stdout: process.stdout(),
        stderr: process.stderr(),
    }
}

/// Waits until no process has one of these ids.
pub(crate) async fn gone(pids: &[u64]) {
    eventually("the processes to be gone", SOON, || {
        let left: Vec<_> = pids
            .iter()
            .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
            .collect();
        std::future::ready(
            left.is_empty()
                .then_some(())
                .ok_or(format!("{left:?} left")),
        )
    })
    .await;
}
