//! Whether the worker's credential is enough for its work, asked before the first task. A denial
//! later on would come when the work is done, and the result could not be told.

use a3s_shared::broker::{Broker, BrokerError};
use a3s_shared::protocol::Serves;
use futures::future::{try_join, try_join_all};

use crate::binding::Binding;
use crate::config::WorkerConfig;

/// A session of which no task is: what is asked about it touches nothing.
const NO_SESSION: &str = "no-session";

/// Asks for everything that has an answer; what is only told (events, output) is not asked for.
///
/// # Errors
/// The first denial, with what the permission is needed for.
pub(crate) async fn check(
    broker: &Broker,
    config: &WorkerConfig,
    binding: &Binding,
) -> Result<(), BrokerError> {
    let (names, id) = (broker.names(), &config.worker_id);
    let session = match &config.serves {
        Serves::Session(session) => session,
        Serves::Pool(_) => NO_SESSION,
    };
    let mut stored = vec![
        ("store results".to_owned(), names.result(session, id)),
        ("claim tasks".to_owned(), names.claim(session, id)),
    ];
    for lane in &config.lanes {
        let what = format!("keep what it gives up in lane {}", lane.id());
        stored.push((what, names.dead_letter(session, lane.id(), id)));
    }
    let stored = stored
        .iter()
        .map(|(what, subject)| broker.may_publish(what, subject));
    let pulled = binding.consumers.iter().map(async |(lane, consumer)| {
        let what = format!("pull tasks of lane {}", lane.id());
        broker.may_pull(&what, &binding.stream, consumer).await
    });
    try_join(try_join_all(stored), try_join_all(pulled)).await?;
    Ok(())
}
