//! Where calls are, by the ids of their tasks, whoever made them: this connection, one that was lost,
//! or an earlier process with the same session. The broker keeps results for a day.

use std::time::Duration;

use a3s_shared::broker::BrokerError;
use a3s_shared::protocol::{TaskResult, validate_token};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::door::Door;
use crate::inspect;
use crate::inspect::tasks::Listed;

/// How long listing may take: a session may have very many results.
const LIST_WITHIN: Duration = Duration::from_secs(5);

/// How often a result is looked for that nobody told us of.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long a call may be on its way to the broker before it counts as one that nobody knows.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Where a call is.
#[derive(Debug)]
pub(super) enum Found {
    /// It has ended.
    Ended(Box<TaskResult>),
    /// It waits or runs.
    Open(Box<Listed>),
    /// Nobody knows it: it never was, or ended more than a day ago.
    Nowhere,
}

/// Where a call is now.
///
/// # Errors
/// When the id is none, or the broker does not answer.
pub(super) async fn find(door: &Door, id: &str) -> Result<Found, String> {
    validate_token("task id", id).map_err(|e| e.to_string())?;
    let (broker, session) = (door.broker(), door.session.id());
    // Twice: a task that ends between the two looks is in neither place at its time, and one that
    // was submitted just now is on its way to the broker.
    for wait in [Duration::ZERO, ON_ITS_WAY] {
        sleep(wait).await;
        let result = door.session.result(id).await.map_err(|e| e.to_string())?;
        if let Some(result) = result {
            return Ok(Found::Ended(Box::new(result)));
        }
        let listed = inspect::tasks::list(broker, Some(session), usize::MAX).await;
        let listed = listed.map_err(|e| e.to_string())?;
        if let Some(task) = listed.into_iter().find(|task| task.id == id) {
            return Ok(Found::Open(Box::new(task)));
        }
    }
    Ok(Found::Nowhere)
}

/// Ends a call, and waits until it says how it ended.
///
/// # Errors
/// As [`find`].
pub(super) async fn end(door: &Door, id: &str) -> Result<Found, String> {
    let task = match find(door, id).await? {
        Found::Open(task) => *task,
        found => return Ok(found),
    };
    let (broker, session) = (door.broker(), door.session.id());
    let reason = "cancelled by its agent";
    let ended = inspect::cancel::cancel(broker, session, vec![task], reason).await;
    let ended = ended.map_err(|e| e.to_string())?;
    match ended.into_iter().next() {
        Some(result) => Ok(Found::Ended(Box::new(result))),
        None => find(door, id).await,
    }
}

/// Where a call is, as soon as it has ended or the time is over.
///
/// # Errors
/// As [`find`].
pub(super) async fn wait_for(door: &Door, id: &str, wait: Duration) -> Result<Found, String> {
    let until = Instant::now() + wait;
    let feed = door.broker().subscribe_results(door.session.id()).await;
    let mut feed = feed.map_err(|e| e.to_string())?;
    loop {
        let found = find(door, id).await?;
        if !matches!(found, Found::Open(_)) || Instant::now() >= until {
            return Ok(found);
        }
        let next = until.min(Instant::now() + LOOK_EVERY);
        let told = async { while feed.next().await.is_some_and(|result| result.task_id != id) {} };
        let _ = timeout_at(next, told).await;
    }
}

/// What is to be seen of the session: what waits and runs, and what ended, oldest first.
///
/// # Errors
/// When the broker does not answer, or not in time.
pub(super) async fn known(door: &Door) -> Result<(Vec<Listed>, Vec<TaskResult>), String> {
    let (broker, session) = (door.broker(), Some(door.session.id()));
    let both = async {
        let open = inspect::tasks::list(broker, session, usize::MAX).await?;
        let ended = inspect::tasks::ended(broker, session, usize::MAX).await?;
        Ok((open, ended))
    };
    match timeout(LIST_WITHIN, both).await {
        Ok(both) => both.map_err(|e: BrokerError| e.to_string()),
        Err(_) => Err(format!(
            "there are more results than could be listed in {LIST_WITHIN:?}; give a task_id"
        )),
    }
}
