//! Looks at an installation and says what is wrong with it, and what to do.
//!
//! * [`finding`]: what a check comes to. [`examine`]: all checks, in the order of their report.
//! * One file a check; each asks the broker, and judges in a pure function: [`server`],
//!   [`storage`], [`topology`], [`rights`], [`clock`], [`lag`], [`fleet`], [`orphans`].
//!
//! It changes nothing and creates nothing, and needs no more than to look: what the present
//! credential may not see is reported as unknown.

pub(crate) mod clock;
pub(crate) mod finding;
pub(crate) mod fleet;
pub(crate) mod lag;
pub(crate) mod orphans;
pub(crate) mod rights;
pub(crate) mod server;
pub(crate) mod storage;
pub(crate) mod topology;

use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, Settings};
use a3s_shared::runtime::Connection;

use finding::Finding;

/// What a user may have their own opinion on.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long a task may wait until somebody takes it.
    pub(crate) wait: Duration,
    /// How much of a stream may be full, in percent.
    pub(crate) full: u8,
}

/// All findings, worst or not, in a fixed order.
pub(crate) async fn examine(
    connection: &Connection,
    broker: &Broker,
    settings: &Settings,
    limits: &Limits,
) -> Vec<Finding> {
    let mut findings = server::check(connection);
    let checks: [(&'static str, Result<Vec<Finding>, BrokerError>); 7] = [
        ("storage", storage::check(broker, limits.full).await),
        ("topology", topology::check(broker, settings).await),
        ("permissions", rights::check(broker, connection).await),
        ("clock", Ok(clock::check(connection, broker).await)),
        ("lag", lag::check(broker, limits.wait).await),
        ("workers", fleet::check(broker).await),
        ("orphans", orphans::check(broker).await),
    ];
    for (check, found) in checks {
        findings.extend(found.unwrap_or_else(|error| vec![Finding::failed(check, &error)]));
    }
    findings
}
