//! Runs one tool on a directory of its own, for the tools' unit tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a3s_shared::protocol::{ExternalTask, SessionLane, clock};
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::context::{ShowOutput, Stop, StopReason, ToolContext};
use crate::sandbox::Sandbox;
use crate::tool::{Tool, ToolResult, Verdict};
use crate::workspace::Workspace;

pub(super) struct Harness {
    directory: TempDir,
    workspace: Arc<Workspace>,
    stop: Stop,
    /// Default: none.
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) output: Option<mpsc::Sender<Bytes>>,
    pub(super) timeout: Duration,
}

impl Harness {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let workspace = Workspace::open(directory.path()).expect("it can be opened");
        Self {
            directory,
            workspace: Arc::new(workspace),
            stop: Stop::default(),
            sandbox: Arc::default(),
            output: None,
            timeout: Duration::from_secs(60),
        }
    }

    pub(super) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        let parent = path.parent().expect("it is below the root");
        std::fs::create_dir_all(parent).expect("directories can be made");
        std::fs::write(path, content).expect("the file can be written");
    }

    pub(super) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.root().join(path)).expect("the file can be read")
    }

    pub(super) fn stop(&self, reason: StopReason) {
        self.stop.tell(reason);
    }

    pub(super) async fn run(&self, tool: &impl Tool, payload: Value) -> Verdict {
        let timeout_ms = u64::try_from(self.timeout.as_millis()).expect("it is short");
        let task = ExternalTask {
            task_id: "task-1".to_owned(),
            session_id: "test".to_owned(),
            lane: SessionLane::Query,
            command_type: tool.name().to_owned(),
            payload,
            timeout_ms,
            deadline_ms: clock::now_ms() + timeout_ms,
        };
        tool.run(&task, &self.context(task.deadline_ms)).await
    }

    pub(super) fn context(&self, deadline_ms: u64) -> ToolContext {
        ToolContext::new(
            self.workspace.clone(),
            deadline_ms,
            self.stop.clone(),
            self.output.clone().map(|sender| -> ShowOutput {
                Arc::new(move |chunk| drop(sender.try_send(chunk)))
            }),
        )
        .confined_by(Arc::clone(&self.sandbox))
    }

    pub(super) async fn done(&self, tool: &impl Tool, payload: Value) -> ToolResult {
        match self.run(tool, payload).await {
            Verdict::Done(result) => result,
            other => panic!("not done: {other:?}"),
        }
    }

    pub(super) async fn success(&self, tool: &impl Tool, payload: Value) -> Value {
        let done = self.done(tool, payload).await;
        assert!(done.success, "{done:?}");
        done.result
    }

    pub(super) async fn failure(&self, tool: &impl Tool, payload: Value) -> (String, Value) {
        let done = self.done(tool, payload).await;
        assert!(!done.success, "{done:?}");
        (done.error.expect("a failure says why"), done.result)
    }
}
