//! External tasks that the host of this process pulls and completes itself. A task is leased to
//! one puller, so that two never get the same one.

use std::sync::Arc;
use std::time::Duration;

use a3s_shared::protocol::{Effect, EventKind, ExternalTask, ExternalTaskResult, clock};
use tokio::time::Instant;

use super::core::{Core, End};
use super::job::{Job, Signal};

/// How long a puller has a task that may be started again, before another one gets it.
const LEASE: Duration = Duration::from_secs(30);

/// Tasks that the host may run. As many as the lanes' caps allow.
#[derive(Debug, Default)]
pub(super) struct HostTasks {
    pulls: bool,
    /// In the order in which they started.
    tasks: Vec<HostTask>,
}

#[derive(Debug)]
struct HostTask {
    task: ExternalTask,
    /// May not be started again: its lease never ends.
    once: bool,
    leased_until: Option<Instant>,
}

impl HostTasks {
    /// Whether the host has asked for tasks.
    pub(super) fn is_pulling(&self) -> bool {
        self.pulls
    }

    fn offer(&mut self, task: ExternalTask, once: bool) {
        self.tasks.push(HostTask {
            task,
            once,
            leased_until: None,
        });
    }

    fn withdraw(&mut self, task_id: &str) -> bool {
        let before = self.tasks.len();
        self.tasks.retain(|task| task.task.task_id != task_id);
        self.tasks.len() < before
    }

    fn lease(&mut self, now: Instant) -> Vec<ExternalTask> {
        self.pulls = true;
        let free = |task: &&mut HostTask| match task.leased_until {
            None => true,
            Some(until) => !task.once && until <= now,
        };
        let leased = self.tasks.iter_mut().filter(free).map(|task| {
            task.leased_until = Some(now + LEASE);
            task.task.clone()
        });
        leased.collect()
    }
}

impl Core {
    /// Gives the host every task that nobody has.
    pub(super) fn lease_to_host(&self) -> Vec<ExternalTask> {
        self.state.lock().host.lease(Instant::now())
    }

    /// Takes a result from the host. The first one counts.
    pub(super) fn complete_from_host(
        self: &Arc<Self>,
        task_id: &str,
        answer: ExternalTaskResult,
    ) -> bool {
        let withdrawn = self.state.lock().host.withdraw(task_id);
        withdrawn && self.signal(task_id, Signal::Answer(Box::new(answer)))
    }
}

/// Offers a task to the host and waits for its result.
pub(super) async fn run(core: &Arc<Core>, mut job: Box<Job>) -> (Box<Job>, End) {
    job.restore_payload();
    core.tell_attempt(&job, EventKind::Started, None, None);
    let (began, began_ms) = (Instant::now(), clock::now_ms());
    let once = job.options.effect == Effect::Once;
    core.state.lock().host.offer(job.task.clone(), once);
    let mut result = job.stopped("while the host had it").await;
    core.state.lock().host.withdraw(&job.task.task_id);
    result.attempt = result.attempt.max(1);
    result.started_at_ms = began_ms;
    result.duration_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    (job, End::with(result))
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::SessionLane;
    use serde_json::json;

    use super::*;

    fn task(id: &str) -> ExternalTask {
        ExternalTask {
            task_id: id.to_owned(),
            session_id: "s".to_owned(),
            lane: SessionLane::Query,
            command_type: "read".to_owned(),
            payload: json!({}),
            timeout_ms: 1,
            deadline_ms: 0,
        }
    }

    fn ids(tasks: &[ExternalTask]) -> Vec<&str> {
        tasks.iter().map(|task| task.task_id.as_str()).collect()
    }

    #[test]
    fn two_pollers_never_get_the_same_task() {
        let (mut host, now) = (HostTasks::default(), Instant::now());
        host.offer(task("a"), false);
        host.offer(task("b"), true);
        assert_eq!(ids(&host.lease(now)), ["a", "b"]);
        assert!(host.lease(now).is_empty());
    }

    #[test]
    fn a_lost_lease_is_given_again_unless_the_task_may_start_once() {
        let (mut host, now) = (HostTasks::default(), Instant::now());
        host.offer(task("again"), false);
        host.offer(task("once"), true);
        host.lease(now);
        assert_eq!(ids(&host.lease(now + LEASE)), ["again"]);
    }

    #[test]
    fn completing_twice_is_told() {
        let mut host = HostTasks::default();
        host.offer(task("a"), false);
        assert!(host.withdraw("a"));
        assert!(!host.withdraw("a"));
        assert!(!host.withdraw("never"));
    }
}
