//! Workers that are there and do not take tasks.

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::{Presence, clock};
use tokio::time::timeout;

use super::finding::Finding;

/// A worker with a free slot hears from the broker every two seconds.
const DEAF_AFTER_MS: u64 = 15_000;

/// How long a worker may take to answer. It does nothing else in the thread that does.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Asks each worker for its state of the moment.
pub(crate) async fn check(broker: &Broker) -> Result<Vec<Finding>, BrokerError> {
    let workers = match broker.watch_fleet().await {
        Err(error) if error.is_denied() => {
            return Ok(vec![Finding::hidden("workers", &error.to_string())]);
        }
        fleet => fleet?.workers(),
    };
    let mut findings = Vec::new();
    for worker in &workers {
        findings.extend(judge(worker, ask(broker, worker).await, clock::now_ms()));
    }
    if workers.is_empty() {
        findings.push(Finding::wrong(
            "workers",
            "no worker is there",
            "start one: a3s-worker",
        ));
    } else if findings.is_empty() {
        let text = format!("{} there, and all of them ask for tasks", workers.len());
        findings.push(Finding::good("workers", text));
    }
    Ok(findings)
}

/// What a worker answered.
#[derive(Debug)]
enum Answer {
    /// Its state.
    State(Box<Presence>),
    /// Nobody listens where it should, or we may not ask: the heartbeat has to do.
    Nobody,
    /// Its connection stands, and it says nothing.
    Silence,
}

async fn ask(broker: &Broker, worker: &Presence) -> Answer {
    let subject = broker.names().worker_endpoint(&worker.worker_id);
    let heard = broker.look_at::<Presence>("ask a worker", &subject);
    match timeout(ANSWER_WITHIN, heard).await {
        Err(_) => Answer::Silence,
        Ok(Ok(a3s_shared::broker::Seen::There(presence))) => Answer::State(Box::new(presence)),
        Ok(_) => Answer::Nobody,
    }
}

fn judge(worker: &Presence, answer: Answer, now_ms: u64) -> Option<Finding> {
    let Presence {
        worker_id,
        host,
        pid,
        ..
    } = worker;
    let silent = || {
        let text = format!("worker {worker_id} is connected and answers nothing");
        let fix = format!("restart process {pid} on {host}; what it runs goes to others by itself");
        Finding::wrong("workers", text, fix)
    };
    let state = match answer {
        Answer::Silence => return Some(silent()),
        Answer::State(state) => *state,
        Answer::Nobody => worker.clone(),
    };
    let pulled = state.last_pull_ms.max(state.started_at_ms);
    let quiet_ms = now_ms.saturating_sub(pulled);
    let idle = state.busy < state.slots && !state.draining;
    (idle && quiet_ms > DEAF_AFTER_MS).then(|| {
        let text = format!(
            "worker {worker_id} has free slots and has heard nothing of its lanes for {} s",
            quiet_ms / 1000
        );
        let fix = format!(
            "look at its log on {host} for what the broker denies it, or restart process {pid}"
        );
        Finding::wrong("workers", text, fix)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use a3s_shared::protocol::Serves;

    use super::*;

    fn worker(busy: usize, last_pull_ms: u64) -> Presence {
        Presence {
            worker_id: "w1".into(),
            host: "box".into(),
            pid: 7,
            version: String::new(),
            runtime: "rust".into(),
            serves: Serves::Pool("default".into()),
            lanes: Vec::new(),
            tools: Vec::new(),
            tool_digest: None,
            sandbox: None,
            slots: 2,
            busy,
            done: 0,
            workspace: "/".into(),
            labels: BTreeMap::new(),
            started_at_ms: 1,
            last_pull_ms,
            seen_at_ms: 100_000,
            draining: false,
            refused: 0,
        }
    }

    #[test]
    fn a_worker_that_is_free_and_hears_nothing_is_deaf_and_a_busy_one_is_not() {
        let state =
            |worker: Presence| judge(&worker, Answer::State(Box::new(worker.clone())), 100_000);
        assert_eq!(state(worker(0, 99_000)), None);
        assert!(state(worker(0, 50_000)).is_some());
        assert_eq!(state(worker(2, 50_000)), None);
    }

    #[test]
    fn a_worker_that_answers_nothing_is_named_with_its_process() {
        let finding = judge(&worker(2, 99_000), Answer::Silence, 100_000).expect("a finding");
        assert!(
            finding.fix.expect("a fix").contains("process 7 on box"),
            "{}",
            finding.text
        );
    }
}
