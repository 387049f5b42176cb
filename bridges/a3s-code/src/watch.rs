//! Takes calls from the agent's queue, and tells workers of those that nobody waits for any more.
//!
//! The queue's table of pending tasks is the truth: events are dropped when a listener lags. It is
//! in this process and costs microseconds to read, so it is looked at often; an event is a reason
//! to look at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use a3s_code_core::AgentSession;
use a3s_code_core::queue::ExternalTask;
use a3s_code_core::run::RunHandle;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::errand::{self, Link, pause};

/// How often the queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long, in one look at the queue, it is asked which runs make the new calls, and the wait in
/// between. Calls of the host beside a run wait so long for nothing, however many there are.
const MAKERS_WITHIN: Duration = Duration::from_millis(10);
const MAKER_PAUSE: Duration = Duration::from_millis(1);

/// A call that is under way.
struct Errand {
    created_at: Option<Instant>,
    tool: String,
    /// The run that made the call, as soon as it is known.
    run: Option<RunHandle>,
    cancel: CancellationToken,
}

/// Serves the agent until `stop`, or until its session is gone; then ends what is under way.
pub(crate) async fn watch(link: Arc<Link>, stop: CancellationToken) {
    let mut under_way = HashMap::<String, Errand>::new();
    let mut errands = JoinSet::new();
    while let Some(agent) = link.agent.upgrade() {
        let mut pending = agent.pending_external_tasks().await;
        forget_the_gone(&mut under_way, &pending);
        cancel_the_orphaned(&agent, &mut under_way).await;
        pending.retain(|call| !under_way.contains_key(&call.task_id));
        pending.sort_by_key(|call| (call.lane.priority(), call.created_at));
        let patience = Instant::now() + MAKERS_WITHIN;
        for call in pending {
            let cancel = CancellationToken::new();
            let errand = Errand {
                created_at: call.created_at,
                // Before it is submitted: a run that is cancelled is not the current one any more.
                run: maker_by(patience, &agent, &call.command_type).await,
                tool: call.command_type.clone(),
                cancel: cancel.clone(),
            };
            under_way.insert(call.task_id.clone(), errand);
            errands.spawn(errand::run(Arc::clone(&link), call, cancel));
        }
        drop(agent);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = pause(&link.wake, LOOK_EVERY) => {}
        }
        while errands.try_join_next().is_some() {}
    }
    for errand in under_way.values() {
        errand.cancel.cancel();
    }
    while errands.join_next().await.is_some() {}
}

/// A call that is not in the table any more has its answer, or has been given up by the agent: it
/// was closed, or waited too long. In either case nobody waits.
fn forget_the_gone(under_way: &mut HashMap<String, Errand>, pending: &[ExternalTask]) {
    under_way.retain(|id, errand| {
        let there = pending
            .iter()
            .any(|call| call.task_id == *id && call.created_at == errand.created_at);
        if !there {
            errand.cancel.cancel();
        }
        there
    });
}

/// A run that was cancelled leaves its call in the table, where it would hold a place in its lane
/// until its time is over.
async fn cancel_the_orphaned(agent: &AgentSession, under_way: &mut HashMap<String, Errand>) {
    for errand in under_way.values_mut() {
        match &errand.run {
            None => errand.run = maker(agent, &errand.tool).await,
            Some(run) => {
                if run.status().await.is_none_or(|status| status.is_terminal()) {
                    errand.cancel.cancel();
                }
            }
        }
    }
}

/// As [`maker`], asked until then: a call may be in the table a moment before its run says that it
/// calls.
async fn maker_by(until: Instant, agent: &AgentSession, tool: &str) -> Option<RunHandle> {
    loop {
        let run = maker(agent, tool).await;
        if run.is_some() || Instant::now() >= until || agent.current_run().await.is_none() {
            return run;
        }
        sleep(MAKER_PAUSE).await;
    }
}

/// The run that is calling `tool` now. Calls of the host (`AgentSession::tool`) have none.
async fn maker(agent: &AgentSession, tool: &str) -> Option<RunHandle> {
    let run = agent.current_run().await?;
    let calling = agent.active_tools().await;
    calling.iter().any(|call| call.name == tool).then_some(run)
}
