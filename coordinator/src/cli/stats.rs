//! `stats`: how much is queued and running, as the broker has it.

use a3s_shared::protocol::clock;
use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::app::{App, Globals};
use super::failure::{DONE, Failure};
use super::listing::{listing, place};
use super::output::Output;
use crate::inspect::backlog::{Backlog, backlog};

/// Count what is queued and what runs, by session and lane
///
/// From the broker's own streams, so it is right whoever submitted the tasks and whether or not
/// their processes live. Tasks that still wait in the process that submitted them are not counted:
/// nobody else knows of them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  a3s-coordinator stats --json | jq .queued")]
pub(crate) struct Stats {
    /// Of this session only
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// One JSON object
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Stats {
    /// Counts and prints.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| self.count(app).await).await
    }

    async fn count(&self, app: &App) -> Result<u8, Failure> {
        let (broker, session) = (app.coordinator.broker(), self.session.as_deref());
        let lanes = backlog(broker, session).await.map_err(Failure::broker)?;
        let letters = broker.dead_letters(session).await;
        let letters = letters.map_err(Failure::broker)?.len();
        let workers = app.coordinator.fleet().workers();
        let busy: usize = workers.iter().map(|worker| worker.busy).sum();
        let slots: usize = workers.iter().map(|worker| worker.slots).sum();
        let (queued, running) = totals(&lanes);
        let mut output = Output::new();
        if self.json {
            let shown = json!({
                "at_ms": clock::now_ms(),
                "queued": queued,
                "running": running,
                "dead_letters": letters,
                "workers": workers.len(),
                "slots": slots,
                "busy": busy,
                "lanes": lanes,
            });
            output.json(&shown).await?;
            return Ok(DONE);
        }
        let text = format!(
            "{queued} queued, {running} running, {letters} dead letters; {} workers, {busy} of \
             {slots} slots busy",
            workers.len()
        );
        output.line(&text).await?;
        if !lanes.is_empty() {
            output.line(&table(&lanes)).await?;
        }
        Ok(DONE)
    }
}

fn totals(lanes: &[Backlog]) -> (u64, u64) {
    let queued = lanes.iter().map(|lane| lane.queued).sum();
    let running = lanes.iter().map(|lane| lane.running).sum();
    (queued, running)
}

fn table(lanes: &[Backlog]) -> String {
    let rows = lanes.iter().map(|row| {
        [
            row.session.clone(),
            row.lane.id().to_owned(),
            place(&row.route),
            row.queued.to_string(),
            row.running.to_string(),
        ]
    });
    listing(["session", "lane", "goes to", "queued", "running"], rows)
}
