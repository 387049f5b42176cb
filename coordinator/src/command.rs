//! What a session runs: the trait, and a ready-made command for a worker's tool.

use a3s_shared::protocol::{Effect, RetryPolicy, WorkspaceRef};
use serde_json::{Value, json};

/// Something a session can run, here or on a worker.
///
/// The first three methods are those of A3S Code; the others have defaults.
#[async_trait::async_trait]
pub trait SessionCommand: Send + Sync {
    /// Runs it in this process: in a lane whose mode is `Internal` or `Hybrid`.
    ///
    /// # Errors
    /// Whatever goes wrong; its text becomes the result's `error`.
    async fn execute(&self) -> anyhow::Result<Value>;

    /// The name of the tool: `read`.
    fn command_type(&self) -> &str;

    /// The tool's input. Default: an empty object.
    fn payload(&self) -> Value {
        json!({})
    }

    /// From submit to result, in milliseconds, instead of what the lane says. Default: the lane's.
    fn timeout_ms(&self) -> Option<u64> {
        None
    }

    /// Whether a worker may start it again after a crash. Default: the lane's.
    fn effect(&self) -> Option<Effect> {
        None
    }

    /// How often workers try it. Default: the session's, else the lane's.
    fn retry(&self) -> Option<RetryPolicy> {
        None
    }

    /// The task's id, so that a restarted caller finds its result. Default: a new unique one.
    fn task_id(&self) -> Option<&str> {
        None
    }

    /// The tree that its worker is to run it in, as `--sync` stores it. Default: the directory
    /// that the worker was started with.
    fn workspace(&self) -> Option<&WorkspaceRef> {
        None
    }
}

/// A command for a tool that a worker has.
///
/// ```
/// use a3s_coordinator::Task;
/// use serde_json::json;
///
/// let task = Task::new("grep", json!({"pattern": "TODO", "path": "src"})).timeout_ms(5_000);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Task {
    command_type: String,
    payload: Value,
    timeout_ms: Option<u64>,
    effect: Option<Effect>,
    retry: Option<RetryPolicy>,
    id: Option<String>,
    workspace: Option<WorkspaceRef>,
}

impl Task {
    /// A task for the tool `command_type`, whose input is `payload`.
    #[must_use]
    pub fn new(command_type: impl Into<String>, payload: Value) -> Self {
        Self {
            command_type: command_type.into(),
            payload,
            timeout_ms: None,
            effect: None,
            retry: None,
            id: None,
            workspace: None,
        }
    }

    /// Sets the time from submit to result, in milliseconds.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }

    /// Sets whether it may be started again after a crash.
    #[must_use]
    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = Some(effect);
        self
    }

    /// Sets how often it is tried after the first attempt, with the default waits between.
    #[must_use]
    pub fn retries(self, max_retries: u32) -> Self {
        self.retry_policy(RetryPolicy {
            max_retries,
            ..RetryPolicy::default()
        })
    }

    /// Sets how often and how soon it is tried again.
    #[must_use]
    pub fn retry_policy(mut self, policy: RetryPolicy) -> Self {
        self.retry = Some(policy);
        self
    }

    /// Sets its id: 1 to 64 letters, digits, `_` or `-`, unique in its session.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the tree that it runs in, and which changed files of it return.
    #[must_use]
    pub fn workspace(mut self, workspace: WorkspaceRef) -> Self {
        self.workspace = Some(workspace);
        self
    }
}

#[async_trait::async_trait]
impl SessionCommand for Task {
    /// Fails: this process has no tools.
    async fn execute(&self) -> anyhow::Result<Value> {
        anyhow::bail!(
            "tool {:?} is run by workers, not in this process: set its lane to External",
            self.command_type
        )
    }

    fn command_type(&self) -> &str {
        &self.command_type
    }

    fn payload(&self) -> Value {
        self.payload.clone()
    }

    fn timeout_ms(&self) -> Option<u64> {
        self.timeout_ms
    }

    fn effect(&self) -> Option<Effect> {
        self.effect
    }

    fn retry(&self) -> Option<RetryPolicy> {
        self.retry
    }

    fn task_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn workspace(&self) -> Option<&WorkspaceRef> {
        self.workspace.as_ref()
    }
}
