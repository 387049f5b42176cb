//! Changing a session's record, which every process of the session follows.

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::SessionRecord;

/// How often a change that met another one is repeated.
const TRIES: usize = 5;

/// Writes the record of `session` after `change`, by compare-and-set. None when it has none.
pub(crate) async fn edit(
    broker: &Broker,
    session: &str,
    change: impl Fn(&mut SessionRecord),
) -> Result<Option<SessionRecord>, BrokerError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let Some((mut record, revision)) = broker.session(session).await? else {
            return Ok(None);
        };
        change(&mut record);
        match broker.update_session(&record, revision).await {
            Ok(_) => return Ok(Some(record)),
            Err(BrokerError::Conflict { .. }) if tries < TRIES => {}
            Err(error) => return Err(error),
        }
    }
}
