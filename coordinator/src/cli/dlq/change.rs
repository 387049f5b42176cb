//! `dlq replay` and `dlq purge`: what is done about dead letters.

use a3s_shared::broker::Replays;
use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::{Filter, chosen, none};
use crate::cli::app::App;
use crate::cli::failure::{DONE, Failure};
use crate::cli::output::Output;

#[derive(Debug, Args)]
pub(super) struct Change {
    /// These tasks
    #[arg(value_name = "ID")]
    named: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Really do it; without, it is only said what would be done
    // No environment variable: a wish of this kind is said each time.
    #[arg(long)]
    yes: bool,
    /// One JSON object a line: which task, and whether it was done
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

/// What is done with dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Published again.
    Replay,
    /// Removed for good.
    Purge,
}

impl Change {
    /// Does it, or says what it would do.
    pub(super) async fn run(&self, app: &App, deed: Deed) -> Result<u8, Failure> {
        let mut choice = self.filter.choice();
        choice.ids.extend(self.named.iter().cloned());
        let letters = chosen(app, &choice).await?;
        if letters.is_empty() {
            return Err(none(&choice));
        }
        // Who names a task to be replayed means it. What is lost for good is asked for twice.
        let really = self.yes || (deed == Deed::Replay && !self.named.is_empty());
        let broker = app.coordinator.broker();
        let mut replays = Replays::new(broker);
        let mut output = Output::new();
        for letter in &letters {
            if really {
                let done = match deed {
                    Deed::Replay => replays.replay(letter).await.map(drop),
                    Deed::Purge => broker.forget(letter).await.map(drop),
                };
                done.map_err(Failure::broker)?;
            }
            let (id, session) = (&letter.task_id, &letter.session_id);
            if self.json {
                let done = json!({ "task_id": id, "session_id": session, "deed": deed.word(), "done": really });
                output.json(&done).await?;
            } else {
                let text = format!("{} {id} of session {session}", deed.said(really));
                output.line(&text).await?;
            }
        }
        if !really {
            let (count, word) = (letters.len(), deed.word());
            eprintln!("nothing was done: add --yes to {word} these {count}");
        }
        Ok(DONE)
    }
}

impl Deed {
    fn word(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Purge => "purge",
        }
    }

    fn said(self, really: bool) -> &'static str {
        match (self, really) {
            (Self::Replay, true) => "replayed",
            (Self::Replay, false) => "would replay",
            (Self::Purge, true) => "purged",
            (Self::Purge, false) => "would purge",
        }
    }
}
