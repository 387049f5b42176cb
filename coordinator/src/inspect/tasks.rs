//! Single tasks: those that the broker has, and all that is known of one.

use std::collections::BTreeSet;

use a3s_shared::broker::{Broker, BrokerError, StoredTask, TaskStream};
use a3s_shared::protocol::{
    CancelMarker, DEFAULT_TIMEOUT_MS, DeadLetter, Encoding, TaskBody, TaskRecord, TaskResult,
};

use super::frontier::{Frontier, Place};

/// A task that the broker has.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// Its id.
    pub(crate) id: String,
    /// Its message.
    pub(crate) stored: StoredTask,
    /// Its body, unless that is large or cannot be read.
    pub(crate) body: Option<TaskBody>,
    /// Where it was when we looked.
    pub(crate) place: Place,
}

/// All that is known of a task.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Its session.
    pub(crate) session: String,
    /// Its message, while it is queued or runs.
    pub(crate) listed: Option<Listed>,
    /// Its result; kept for a day.
    pub(crate) result: Option<TaskResult>,
    /// Its claim and earlier attempts.
    pub(crate) record: TaskRecord,
    /// The wish that it ends.
    pub(crate) marker: Option<CancelMarker>,
    /// Its dead letter.
    pub(crate) letter: Option<DeadLetter>,
}

impl Listed {
    fn new(broker: &Broker, stored: StoredTask, place: Place) -> Self {
        let inline = stored.headers.blob.is_none();
        let body = inline.then(|| stored.headers.encoding(&stored.body).decode(&stored.body));
        let body: Option<TaskBody> = body.and_then(Result::ok);
        let named = body.as_ref().and_then(|body| body.task_id.clone());
        Self {
            id: named.unwrap_or_else(|| stored.fallback_id(broker)),
            stored,
            body,
            place,
        }
    }

    /// Its tool, where that is known.
    pub(crate) fn command_type(&self) -> &str {
        let body = self.body.as_ref();
        body.map_or("", |body| body.command_type.as_str())
    }

    /// When its time is over, in the broker's time, milliseconds since 1970.
    pub(crate) fn deadline_ms(&self) -> u64 {
        let timeout = self.body.as_ref().and_then(|body| body.timeout_ms);
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT_MS);
        self.stored
            .headers
            .deadline(self.stored.stored_at_ms, timeout)
    }
}

/// The tasks of a session, or of all with `None`, that the broker has: oldest first, at most
/// `limit`.
pub(crate) async fn list(
    broker: &Broker,
    session: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, BrokerError> {
    let mut frontier = Frontier::new(broker);
    let filter = broker.names().of_session(session.unwrap_or("*"));
    let mut found = Vec::new();
    for which in [TaskStream::Pool, TaskStream::Own] {
        let stream = broker.names().tasks(which);
        let mut from = 1;
        while found.len() < limit {
            let Some(message) = broker.next(&stream, &filter, from).await? else {
                break;
            };
            from = message.sequence + 1;
            let Some(stored) = StoredTask::read(broker, &stream, message) else {
                continue;
            };
            let place = frontier.place(&stored.address, stored.sequence).await?;
            found.push(Listed::new(broker, stored, place));
        }
    }
    Ok(found)
}

/// The results of a session, or of all with `None`, that are kept: oldest first, at most `limit`.
pub(crate) async fn ended(
    broker: &Broker,
    session: Option<&str>,
    limit: usize,
) -> Result<Vec<TaskResult>, BrokerError> {
    results(
        broker,
        &broker.names().result(session.unwrap_or("*"), "*"),
        limit,
    )
    .await
}

async fn results(
    broker: &Broker,
    filter: &str,
    limit: usize,
) -> Result<Vec<TaskResult>, BrokerError> {
    let stream = broker.names().results();
    let (mut found, mut from) = (Vec::new(), 1);
    while found.len() < limit {
        let Some(message) = broker.next(&stream, filter, from).await? else {
            break;
        };
        from = message.sequence + 1;
        match broker.read_result(&message.headers, message.body).await {
            Ok(result) => found.push(result),
            Err(error) => tracing::warn!(subject = message.subject, %error, "passed over"),
        }
    }
    Ok(found)
}

/// All that is known of task `id`, in `session` or in every session that has such a task.
pub(crate) async fn find(
    broker: &Broker,
    session: Option<&str>,
    id: &str,
) -> Result<Vec<Found>, BrokerError> {
    let any = session.unwrap_or("*");
    let names = broker.names();
    // A credential for one session may ask for what it can name, and walk through nothing.
    let mut listed = match list(broker, session, usize::MAX).await {
        Err(error) if error.is_denied() => Vec::new(),
        listed => listed?,
    };
    listed.retain(|task| task.id == id);
    let results = match (
        results(broker, &names.result(any, id), usize::MAX).await,
        session,
    ) {
        (Err(error), Some(session)) if error.is_denied() => {
            broker.result(session, id).await?.into_iter().collect()
        }
        (results, _) => results?,
    };
    let letters = names.dead_letter(any, "*", id);
    let letters = match broker.scan(&names.dead_letters(), &letters, 1).await {
        Err(error) if error.is_denied() => {
            let last = broker.last(&names.dead_letters(), &letters).await?;
            last.into_iter().collect()
        }
        letters => letters?,
    };
    let letters: Vec<DeadLetter> = letters
        .iter()
        .filter_map(|message| Encoding::Json.decode(&message.body).ok())
        .collect();
    let sessions: BTreeSet<String> = listed
        .iter()
        .map(|task| &task.stored.address.session)
        .chain(results.iter().map(|result| &result.session_id))
        .chain(letters.iter().map(|letter| &letter.session_id))
        .cloned()
        .collect();
    let mut found = Vec::new();
    for session in sessions {
        found.push(Found {
            record: broker.record(&session, id).await?.0,
            marker: broker.is_cancelled(&session, id).await?,
            listed: listed
                .iter()
                .find(|task| task.stored.address.session == session)
                .cloned(),
            result: results.iter().find(|r| r.session_id == session).cloned(),
            letter: letters.iter().find(|l| l.session_id == session).cloned(),
            session,
        });
    }
    Ok(found)
}
