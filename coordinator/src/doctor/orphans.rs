//! What belongs to nobody any more: consumers of sessions that are gone, and tasks that only such
//! sessions' workers would take. Large bodies and records of tasks go by their age; whose they are
//! is not looked for.

use std::collections::BTreeSet;

use a3s_shared::broker::{Broker, BrokerError, Seen, TaskStream};
use a3s_shared::protocol::SessionLane;
use async_nats::jetstream::stream;

use super::finding::Finding;
use super::lag::Page;

/// Looks at the consumers and tasks of sessions with workers of their own.
pub(crate) async fn check(broker: &Broker) -> Result<Vec<Finding>, BrokerError> {
    let own = broker.names().tasks(TaskStream::Own);
    let consumers = match broker.look::<Page>(&format!("CONSUMER.LIST.{own}")).await? {
        Seen::There(page) => page.consumers.into_iter().map(|info| info.name).collect(),
        Seen::Missing => Vec::new(),
        Seen::Hidden(denied) => {
            return Ok(vec![Finding::hidden(
                "orphans",
                &format!("not permitted to {denied}"),
            )]);
        }
    };
    let sessions: BTreeSet<String> = match broker.sessions().await {
        Ok(records) => records
            .into_iter()
            .map(|record| record.session_id)
            .collect(),
        Err(error) if error.is_denied() => {
            return Ok(vec![Finding::hidden("orphans", &error.to_string())]);
        }
        Err(error) => return Err(error),
    };
    let stored = match broker.stream_info(&own).await? {
        Seen::There(info) => messages(&info),
        Seen::Missing | Seen::Hidden(_) => 0,
    };
    Ok(judge(&consumers, &sessions, stored, &own))
}

fn messages(info: &stream::Info) -> u64 {
    info.state.messages
}

fn judge(
    consumers: &[String],
    sessions: &BTreeSet<String>,
    stored: u64,
    own: &str,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = consumers
        .iter()
        .filter(|name| session_of(name).is_some_and(|session| !sessions.contains(session)))
        .map(|name| {
            let text = format!("consumer {name} of a session that has no record any more");
            let fix = format!(
                "it goes a day after its last worker, or now: `nats consumer rm {own} {name}`"
            );
            Finding::wrong("orphans", text, fix)
        })
        .collect();
    if stored > 0 && consumers.is_empty() {
        let text =
            format!("{stored} tasks in {own}, and no session's workers have a consumer for them");
        let fix = "start a worker with the session's --session-id, or end it: a3s-coordinator session cancel ID";
        findings.push(Finding::wrong("orphans", text, fix));
    }
    if findings.is_empty() {
        findings.push(Finding::good(
            "orphans",
            "no consumer and no task of a session that is gone",
        ));
    }
    findings
}

/// The session of a consumer `own-<session>-<lane>`.
fn session_of(consumer: &str) -> Option<&str> {
    let (session, lane) = consumer.strip_prefix("own-")?.rsplit_once('-')?;
    let known = SessionLane::ALL.into_iter().any(|l| l.id() == lane);
    known.then_some(session)
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_consumer_without_its_session_is_an_orphan_and_others_are_not() {
        let sessions = BTreeSet::from(["a-b".to_owned()]);
        let all = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            judge(&names, &sessions, 0, "A3S_OWN")
        };
        assert_eq!(all(&["own-a-b-query", "something"])[0].state, State::Good);
        let found = all(&["own-a-b-query", "own-gone-query"]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].text.contains("own-gone-query"),
            "{}",
            found[0].text
        );
    }
}
