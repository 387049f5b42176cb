//! A session's entry at the broker: where its tasks go, and whether it is open or paused. Other
//! processes read it, workers of its own among them.

use std::collections::BTreeMap;

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::{DEFAULT_POOL, Route, SessionRecord, SessionState, clock};

use crate::error::Error;

/// A session's record as it is at the broker.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) record: SessionRecord,
    pub(super) revision: u64,
    /// Whether the session was there before, so that it may have tasks.
    pub(super) existed: bool,
}

/// How often a write that met another one is repeated.
const TRIES: usize = 5;

/// Opens the session's record, and makes it where there is none. `wanted` is the route that the
/// caller asked for; without one, that of the record holds, and pool `default` in a new one.
pub(super) async fn open(
    broker: &Broker,
    session: &str,
    wanted: Option<&Route>,
) -> Result<Opened, Error> {
    let mut conflict = None;
    for _ in 0..TRIES {
        let written = match broker.session(session).await? {
            None => {
                let record = fresh(session, wanted);
                let written = broker.create_session(&record).await;
                written.map(|revision| Opened {
                    record,
                    revision,
                    existed: false,
                })
            }
            Some((record, revision)) => {
                let opened = reopened(&record, wanted)?;
                if opened == record {
                    return Ok(Opened {
                        record,
                        revision,
                        existed: true,
                    });
                }
                let written = broker.update_session(&opened, revision).await;
                written.map(|revision| Opened {
                    record: opened,
                    revision,
                    existed: true,
                })
            }
        };
        match written {
            Err(error @ BrokerError::Conflict { .. }) => conflict = Some(error),
            written => return Ok(written?),
        }
    }
    Err(conflict.map_or_else(|| unreachable!("at least one try"), Error::from))
}

/// Writes a session's state into its record, if there is one, and returns the new revision.
pub(super) async fn set_state(
    broker: &Broker,
    session: &str,
    state: SessionState,
) -> Result<Option<u64>, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Some((record, revision)) = broker.session(session).await? else {
            return Ok(None);
        };
        match broker
            .update_session(&SessionRecord { state, ..record }, revision)
            .await
        {
            Err(BrokerError::Conflict { .. }) if tries < TRIES => {}
            written => return Ok(Some(written?)),
        }
    }
}

fn fresh(session: &str, wanted: Option<&Route>) -> SessionRecord {
    SessionRecord {
        session_id: session.to_owned(),
        route: wanted
            .cloned()
            .unwrap_or_else(|| Route::Pool(DEFAULT_POOL.to_owned())),
        state: SessionState::Open,
        lanes: BTreeMap::new(),
        created_at_ms: clock::now_ms(),
        cancelled_before_ms: 0,
    }
}

/// What a record becomes when its session is opened. The route of a closed one may change.
fn reopened(record: &SessionRecord, wanted: Option<&Route>) -> Result<SessionRecord, Error> {
    let mut opened = record.clone();
    if record.state == SessionState::Closed {
        opened.state = SessionState::Open;
        opened.route = wanted.unwrap_or(&record.route).clone();
        return Ok(opened);
    }
    match wanted {
        Some(wanted) if *wanted != record.route => Err(Error::OtherRoute {
            session: record.session_id.clone(),
            wanted: wanted.clone(),
            found: record.route.clone(),
        }),
        _ => Ok(opened),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(state: SessionState) -> SessionRecord {
        SessionRecord {
            state,
            ..fresh("s", Some(&Route::Own))
        }
    }

    #[test]
    fn without_a_wish_the_record_decides() {
        assert_eq!(
            reopened(&own(SessionState::Open), None)
                .expect("no wish")
                .route,
            Route::Own
        );
        assert_eq!(fresh("s", None).route, Route::Pool("default".to_owned()));
    }

    #[test]
    fn another_route_is_refused_while_the_session_is_open() {
        let pool = Route::Pool("eu".to_owned());
        let error = reopened(&own(SessionState::Open), Some(&pool)).expect_err("goes elsewhere");
        let text = error.to_string();
        assert!(
            text.contains("goes to its own workers, not to pool eu"),
            "{text}"
        );
        let opened = reopened(&own(SessionState::Closed), Some(&pool)).expect("it had ended");
        assert_eq!((opened.route, opened.state), (pool, SessionState::Open));
    }

    #[test]
    fn a_paused_session_stays_paused() {
        let opened = reopened(&own(SessionState::Paused), None).expect("no wish");
        assert_eq!(opened.state, SessionState::Paused);
    }
}
