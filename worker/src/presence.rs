//! What a worker says of itself: a heartbeat in the bucket of workers, and a NATS micro service
//! that the `nats` CLI shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use a3s_shared::broker::{Broker, PRESENCE_TTL};
use a3s_shared::protocol::{Encoding, Introduction, Presence, ToolInfo, clock};
use async_nats::service::ServiceExt;
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::slots::Slots;

/// What changes while a worker lives. Written by the loop and the executor, read by heartbeats.
#[derive(Debug, Clone)]
pub(crate) struct Vitals {
    pub(crate) slots: Slots,
    pub(crate) last_pull_ms: Arc<AtomicU64>,
    pub(crate) done: Arc<AtomicU64>,
    pub(crate) refused: Arc<AtomicU64>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl Vitals {
    /// The heartbeat of this moment.
    pub(crate) fn fill(&self, fixed: &Presence) -> Presence {
        Presence {
            busy: self.slots.busy(),
            done: self.done.load(Ordering::Relaxed),
            last_pull_ms: self.last_pull_ms.load(Ordering::Relaxed),
            seen_at_ms: clock::now_ms(),
            draining: *self.draining.borrow(),
            refused: self.refused.load(Ordering::Relaxed),
            ..fixed.clone()
        }
    }
}

/// Writes heartbeats for ever: at once, every five seconds, and when a drain begins.
pub(crate) async fn announce(broker: Broker, fixed: Presence, mut vitals: Vitals) {
    let mut ticks = interval(PRESENCE_TTL / 3);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Ok(()) = vitals.draining.changed() => {}
        }
        if let Err(error) = broker.announce(&vitals.fill(&fixed)).await {
            tracing::warn!(%error, "the heartbeat was not written");
        }
    }
}

/// Answers `nats micro ls`, `info` and `stats`, and requests to the worker's own subject, with
/// the heartbeat of the moment and what is said of the tools, for ever. A server that does not
/// permit it is no error.
pub(crate) async fn serve(
    broker: Broker,
    fixed: Presence,
    tools: BTreeMap<String, ToolInfo>,
    vitals: Vitals,
) {
    let names = broker.names();
    let (now, shown) = (vitals.clone(), fixed.clone());
    let service = broker
        .client()
        .service_builder()
        .description("Runs tasks of A3S sessions")
        .metadata([("worker_id".to_owned(), fixed.worker_id.clone())].into())
        .stats_handler(move |_, _| serde_json::json!(now.fill(&shown)))
        .start(names.worker_service(), env!("CARGO_PKG_VERSION"))
        .await;
    let Ok(service) = service else {
        tracing::debug!("the worker is not registered as a micro service");
        return std::future::pending::<()>().await;
    };
    let Ok(mut requests) = service
        .endpoint(names.worker_endpoint(&fixed.worker_id))
        .await
    else {
        return std::future::pending::<()>().await;
    };
    while let Some(request) = requests.next().await {
        let body = Encoding::Json.encode(&Introduction {
            presence: vitals.fill(&fixed),
            tool_info: tools.clone(),
        });
        let _ = request.respond(Ok(body.into())).await;
    }
    std::future::pending::<()>().await;
}
