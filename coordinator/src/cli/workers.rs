//! `workers`: who is there.

use a3s_shared::protocol::{Presence, Serves, clock};
use clap::Args;
use clap::builder::BoolishValueParser;
use comfy_table::{Table, presets};
use serde_json::json;

use super::app::{App, Globals};
use super::failure::{DONE, Failure};
use super::output::Output;

/// List the workers that are there
///
/// Who they serve, from which lanes, what holds the programs that they run, how many of their
/// slots are busy, when the broker last answered them, and how long ago they were heard of (a worker that says nothing for 15 seconds
/// is gone).
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  a3s-coordinator workers --json | jq -r .worker_id")]
pub(crate) struct Workers {
    /// One JSON object a line, with all that workers tell of themselves
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Workers {
    /// Prints the list.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let serves = Serves::Pool(a3s_shared::protocol::DEFAULT_POOL.to_owned());
        App::run(globals, &serves, async |app| {
            let workers = app.coordinator.fleet().workers();
            let mut output = Output::new();
            if self.json {
                for worker in &workers {
                    output.json(&json!(worker)).await?;
                }
            } else if workers.is_empty() {
                eprintln!("no worker is there; start one: a3s-worker");
            } else {
                output.line(&table(&workers, clock::now_ms())).await?;
            }
            Ok(DONE)
        })
        .await
    }
}

fn table(workers: &[Presence], now_ms: u64) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "id",
        "host",
        "serves",
        "lanes",
        "tools",
        "sandbox",
        "busy",
        "last pull",
        "heard of",
    ]);
    for worker in workers {
        table.add_row(row(worker, now_ms));
    }
    table.trim_fmt()
}

fn row(worker: &Presence, now_ms: u64) -> [String; 9] {
    let lanes: Vec<&str> = worker.lanes.iter().map(|lane| lane.id()).collect();
    let serves = match &worker.serves {
        Serves::Pool(pool) => format!("pool {pool}"),
        Serves::Session(session) => format!("session {session}"),
    };
    let turn = match (
        worker.labels.get("distance"),
        worker.labels.get("help-when"),
    ) {
        (Some(distance), _) => format!(" at {distance}"),
        (None, Some(waiting)) => format!(" when {waiting} wait"),
        (None, None) => String::new(),
    };
    let state = if worker.draining { " (draining)" } else { "" };
    [
        worker.worker_id.clone(),
        worker.host.clone(),
        format!("{serves}{turn}{state}"),
        lanes.join(","),
        worker.tools.len().to_string(),
        worker
            .sandbox
            .clone()
            .unwrap_or_else(|| "not told".to_owned()),
        format!("{}/{}", worker.busy, worker.slots),
        match worker.last_pull_ms {
            0 => "never".to_owned(),
            at => ago(at, now_ms),
        },
        ago(worker.seen_at_ms, now_ms),
    ]
}

fn ago(at_ms: u64, now_ms: u64) -> String {
    let tenths = now_ms.saturating_sub(at_ms) / 100;
    format!("{}.{} s ago", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use a3s_shared::protocol::SessionLane;

    use super::*;

    #[test]
    fn a_row_says_who_serves_what() {
        let worker = Presence {
            worker_id: "w1".into(),
            host: "box".into(),
            pid: 1,
            version: String::new(),
            runtime: "rust".into(),
            serves: Serves::Pool("default".into()),
            lanes: vec![SessionLane::Query, SessionLane::Execute],
            tools: vec!["read".into(), "grep".into()],
            tool_digest: None,
            slots: 4,
            busy: 1,
            done: 0,
            workspace: "/".into(),
            labels: BTreeMap::from([("distance".into(), "5".into())]),
            sandbox: Some("landlock v7 + seccomp".into()),
            started_at_ms: 0,
            last_pull_ms: 0,
            seen_at_ms: 10_000,
            draining: true,
            refused: 0,
        };
        assert_eq!(
            row(&worker, 12_340),
            [
                "w1",
                "box",
                "pool default at 5 (draining)",
                "query,execute",
                "2",
                "landlock v7 + seccomp",
                "1/4",
                "never",
                "2.3 s ago"
            ]
        );
    }
}
