//! `--sync`: workers in empty directories do what workers with a checkout do.

mod cache;
mod push;
mod returns;
mod run;

use std::fs;
use std::path::{Path, PathBuf};

use a3s_testkit::{Process, ProcessBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::stage::{Done, Stage, finish};

/// A tree here, workers elsewhere, and caches of their own.
struct Scene {
    stage: Stage,
    empty: TempDir,
    caches: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        // Without it .gitignore is a file like any other, to ripgrep too.
        stage.write(".git/HEAD", "x");
        Self {
            stage,
            empty: tempfile::tempdir().expect("a directory"),
            caches: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Where the workers keep trees.
    fn cache(&self) -> PathBuf {
        self.caches.path().join("workers")
    }

    /// A worker that has no checkout.
    async fn worker(&self, arguments: &[&str]) -> Process {
        let (empty, cache) = (self.empty.path().display(), self.cache());
        let (empty, cache) = (empty.to_string(), cache.display().to_string());
        let place = ["--workspace", &empty, "--cache-dir", &cache];
        self.stage.worker(&[&place[..], arguments].concat()).await
    }

    /// The program, with what it remembers of syncs in a place of this test.
    fn coordinator(&self, arguments: &[&str]) -> ProcessBuilder {
        let memory = self.caches.path().join("memory");
        self.stage
            .coordinator(arguments)
            .env("XDG_CACHE_HOME", memory)
    }

    async fn run(&self, arguments: &[&str]) -> Done {
        finish(self.coordinator(arguments).start()).await
    }

    async fn succeed(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments).await;
        assert_eq!(done.status, 0, "{arguments:?}: {done:?}");
        done.stdout
    }

    /// What `workspace push --json` says.
    async fn push(&self) -> Value {
        let line = self.succeed(&["workspace", "push", "--json"]).await;
        serde_json::from_str(&line).expect("JSON")
    }

    /// Runs tasks by `batch --sync`; the answers in the order of their `id`.
    async fn batch(&self, lines: &[Value]) -> Vec<Value> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let file = self.caches.path().join("tasks.jsonl");
        fs::write(&file, text).expect("a file");
        let file = file.display().to_string();
        let done = self.run(&["batch", "--sync", &file]).await;
        let read = |line| serde_json::from_str(line).expect("JSON");
        let mut answers: Vec<Value> = done.stdout.lines().map(read).collect();
        assert_eq!(answers.len(), lines.len(), "{done:?}");
        answers.sort_by_key(|answer| answer["id"].as_str().map(str::to_owned));
        answers
    }

    fn path(&self) -> PathBuf {
        self.stage.path()
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        self.stage.write(path, content);
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).expect("a file")
    }

    /// How many trees the workers keep.
    fn trees(&self) -> usize {
        entries(&self.cache().join("1/trees"))
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).map_or(0, Iterator::count)
}
