//! What a tool is given beside its task: where it works, when to stop, where to print.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, OnceLock};

use a3s_shared::protocol::{ErrorKind, clock};
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};

use crate::policy::{Policy, Refusal, Rule};
use crate::sandbox::Sandbox;
use crate::workspace::Workspace;

/// Why a running tool must stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The task's deadline has come.
    Deadline,
    /// Somebody cancelled the task.
    Cancelled,
    /// The broker no longer counts on this worker; another may run the task.
    LeaseLost,
    /// The worker stops and the time it had for finishing is over.
    Shutdown,
    /// The worker's policy allows an attempt no more time than this.
    PolicyTime(Duration),
}

/// Takes a piece of output to whoever watches, without waiting.
pub type ShowOutput = Arc<dyn Fn(Bytes) + Send + Sync>;

/// Tells a running tool to stop, once. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    reason: OnceLock<StopReason>,
    changed: Notify,
}

impl Stop {
    /// Tells it. The first reason stays.
    pub fn tell(&self, reason: StopReason) {
        if self.0.reason.set(reason).is_ok() {
            self.0.changed.notify_waiters();
        }
    }

    fn reason(&self) -> Option<StopReason> {
        self.0.reason.get().copied()
    }

    async fn told(&self) -> StopReason {
        loop {
            // Registered before the look, so that nothing is missed in between.
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            if let Some(reason) = self.reason() {
                return reason;
            }
            changed.await;
        }
    }
}

impl StopReason {
    /// The kind of error that a result has which was cut short for this reason. `None`: nobody
    /// will see that result.
    #[must_use]
    pub fn error_kind(self) -> Option<ErrorKind> {
        match self {
            Self::Deadline => Some(ErrorKind::TimedOut),
            Self::Cancelled => Some(ErrorKind::Cancelled),
            Self::PolicyTime(_) => Some(ErrorKind::Refused),
            Self::LeaseLost | Self::Shutdown => None,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deadline => f.write_str("the task's deadline has come"),
            Self::Cancelled => f.write_str("the task was cancelled"),
            Self::LeaseLost => f.write_str("the broker gave the task up"),
            Self::Shutdown => f.write_str("the worker stops"),
            Self::PolicyTime(most) => {
                let why = format!("it ran longer than {most:?}");
                Refusal::new(Rule::LimitsTime, why).fmt(f)
            }
        }
    }
}

/// What one run of a tool may use. Cheap to clone.
#[derive(Clone)]
pub struct ToolContext {
    workspace: Arc<Workspace>,
    deadline_ms: u64,
    stop: Stop,
    output: Option<ShowOutput>,
    sandbox: Arc<Sandbox>,
}

impl ToolContext {
    /// A context whose stop signal is `stop` and whose partial output goes to `output`.
    #[must_use]
    pub fn new(
        workspace: Arc<Workspace>,
        deadline_ms: u64,
        stop: Stop,
        output: Option<ShowOutput>,
    ) -> Self {
        Self {
            workspace,
            deadline_ms,
            stop,
            output,
            sandbox: Sandbox::none(),
        }
    }

    /// The same context, held to the policy of `sandbox`.
    #[must_use]
    pub fn confined_by(mut self, sandbox: Arc<Sandbox>) -> Self {
        self.sandbox = sandbox;
        self
    }

    /// What holds the tool's programs to the policy.
    #[must_use]
    pub fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// What the tool may do.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        self.sandbox.policy()
    }

    /// The same, in another directory.
    #[must_use]
    pub fn in_workspace(&self, workspace: Arc<Workspace>) -> Self {
        Self {
            workspace,
            ..self.clone()
        }
    }

    /// The directory that the tool may touch.
    #[must_use]
    pub fn workspace(&self) -> &Arc<Workspace> {
        &self.workspace
    }

    /// When the task's time is over, on this machine's monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        // In this order, because the process may be stopped in between.
        let now = Instant::now();
        let left = self.deadline_ms.saturating_sub(clock::now_ms());
        now + Duration::from_millis(left)
    }

    /// Whether the tool must stop; for loops that cannot await.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.reason().is_some()
    }

    /// Why the tool must stop; `None` while it may go on.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        self.stop.reason()
    }

    /// Resolves when the tool must stop, and says why. Never resolves otherwise.
    pub async fn stopped(&self) -> StopReason {
        self.stop.told().await
    }

    /// Shows a piece of output to whoever watches the task now. Never waits: what nobody can
    /// take in time is dropped here (the result still has it).
    pub fn progress(&self, chunk: impl Into<Bytes>) {
        if let Some(show) = &self.output {
            show(chunk.into());
        }
    }
}
