//! Why a task will wait: nobody present takes tasks of its lane. Pure.

use a3s_shared::protocol::{DEFAULT_POOL, Presence, Route, Serves, SessionLane};

/// How many workers are named.
const NAMED: usize = 5;

/// What to tell the user when none of `workers` takes tasks of `lane`; None when one does.
pub(crate) fn explain(
    session: &str,
    route: &Route,
    lane: SessionLane,
    workers: &[Presence],
) -> Option<String> {
    if workers
        .iter()
        .any(|worker| worker.takes(session, route, lane))
    {
        return None;
    }
    Some(format!(
        "no worker serves lane {} of {}; {}; start one: {}",
        lane.id(),
        place(session, route),
        present(workers),
        start(session, route, lane),
    ))
}

fn place(session: &str, route: &Route) -> String {
    match route {
        Route::Pool(pool) => format!("pool {pool}"),
        Route::Own => format!("session {session}'s own workers"),
    }
}

fn present(workers: &[Presence]) -> String {
    if workers.is_empty() {
        return "no worker is there at all".to_owned();
    }
    let mut said: Vec<String> = workers.iter().take(NAMED).map(one).collect();
    if workers.len() > NAMED {
        said.push(format!("and {} more", workers.len() - NAMED));
    }
    said.join(", ")
}

fn one(worker: &Presence) -> String {
    let serves = match &worker.serves {
        Serves::Pool(pool) => format!("pool {pool}"),
        Serves::Session(session) => format!("session {session}"),
    };
    let lanes: Vec<&str> = worker.lanes.iter().map(|lane| lane.id()).collect();
    let state = if worker.draining {
        "drains and served"
    } else {
        "serves"
    };
    format!(
        "{} on {} {state} {serves} ({})",
        worker.worker_id,
        worker.host,
        lanes.join(", ")
    )
}

fn start(session: &str, route: &Route, lane: SessionLane) -> String {
    match route {
        Route::Pool(pool) if pool == DEFAULT_POOL => format!("a3s-worker --lanes {}", lane.id()),
        Route::Pool(pool) => format!("a3s-worker --pool {pool} --lanes {}", lane.id()),
        Route::Own => format!("a3s-worker --session-id {session} --lanes {}", lane.id()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn worker(serves: Serves, lanes: &[SessionLane]) -> Presence {
        Presence {
            worker_id: "w1".into(),
            host: "x".into(),
            pid: 1,
            version: String::new(),
            runtime: "rust".into(),
            serves,
            lanes: lanes.to_vec(),
            tools: Vec::new(),
            tool_digest: None,
            slots: 4,
            busy: 0,
            done: 0,
            workspace: "/".into(),
            labels: BTreeMap::new(),
            sandbox: None,
            started_at_ms: 0,
            last_pull_ms: 0,
            seen_at_ms: 0,
            draining: false,
            refused: 0,
        }
    }

    fn pool(name: &str) -> Route {
        Route::Pool(name.to_owned())
    }

    #[test]
    fn a_lane_that_somebody_serves_needs_no_words() {
        let workers = [worker(
            Serves::Pool("default".into()),
            &[SessionLane::Query],
        )];
        assert_eq!(
            explain("s", &pool("default"), SessionLane::Query, &workers),
            None
        );
    }

    #[test]
    fn it_says_who_serves_what_and_what_to_start() {
        let workers = [worker(
            Serves::Pool("default".into()),
            &[SessionLane::Execute],
        )];
        assert_eq!(
            explain("s", &pool("eu"), SessionLane::Query, &workers).expect("nobody serves it"),
            "no worker serves lane query of pool eu; w1 on x serves pool default (execute); \
             start one: a3s-worker --pool eu --lanes query"
        );
        assert_eq!(
            explain("abc", &Route::Own, SessionLane::Query, &[]).expect("nobody serves it"),
            "no worker serves lane query of session abc's own workers; no worker is there at all; \
             start one: a3s-worker --session-id abc --lanes query"
        );
    }

    #[test]
    fn a_draining_worker_serves_nobody() {
        let mut draining = worker(Serves::Pool("default".into()), &SessionLane::ALL);
        draining.draining = true;
        assert!(explain("s", &pool("default"), SessionLane::Query, &[draining]).is_some());
    }
}
