//! The moments of a delivery at which a crash makes a difference, for those who want to be there:
//! tests that crash a worker at each of them, and tracing. It changes nothing about a task, and
//! no option of the command line reaches it.

use std::fmt;
use std::sync::Arc;

/// A moment in the way of a delivery through a worker, in the order in which they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// It has arrived and was decoded; nothing is checked yet.
    Pulled,
    /// A `once` task's claim is stored, an `idempotent` one needs none; the tool has not begun.
    Claimed,
    /// The tool has begun, and was not done at once.
    Started,
    /// The tool has ended, by itself or because it was told to stop.
    Finished,
    /// The dead letter of a task that is given up is stored, and its result is not.
    Buried,
    /// The broker has the task's result, this one or an earlier one.
    ResultPublished,
    /// The task was acknowledged.
    Acked,
}

/// Who is told of the steps, and of which task. Default: nobody, which costs nothing.
///
/// It is called on the thread that drives the worker: while it blocks, the worker does.
#[derive(Clone, Default)]
pub struct Steps(Option<Arc<Watcher>>);

type Watcher = dyn Fn(Step, &str) + Send + Sync;

impl Steps {
    /// Tells `watcher` the step and the task's id.
    #[must_use]
    pub fn told_to(watcher: impl Fn(Step, &str) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(watcher)))
    }

    pub(crate) fn at(&self, step: Step, task_id: &str) {
        if let Some(watcher) = &self.0 {
            watcher(step, task_id);
        }
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "watched"
        } else {
            "unwatched"
        })
    }
}
