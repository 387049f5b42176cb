//! What is said of the cases: a table for people, a JSON line a case for programs.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::suite::{Case, Level};

/// How a case ended.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What it is about.
    pub topic: &'static str,
    /// The claim.
    pub name: &'static str,
    /// Why the claim does not hold, in its first line, and what the workers printed.
    pub failure: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Verdict {
    /// Whether the claim holds.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// Why not, in one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        let failure = self.failure.as_deref().unwrap_or_default();
        failure.lines().next().unwrap_or_default()
    }

    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "topic": self.topic, "case": self.name, "passed": self.passed(),
            "failure": self.failure, "seconds": self.took.as_secs_f64(),
        })
    }
}

/// All verdicts, for people.
#[must_use]
pub fn table(verdicts: &[Verdict]) -> String {
    let mut table = new_table(["", "about", "claim", "seconds", "why not"]);
    for verdict in verdicts {
        table.add_row([
            if verdict.passed() { "pass" } else { "FAIL" },
            verdict.topic,
            &readable(verdict.name),
            &format!("{:.1}", verdict.took.as_secs_f64()),
            verdict.reason(),
        ]);
    }
    table.trim_fmt()
}

/// The cases there are.
#[must_use]
pub fn list(cases: &[Case]) -> String {
    let mut table = new_table(["about", "name", "for"]);
    for case in cases {
        let level = match case.level {
            Level::Basic => "basic",
            Level::Full => "full",
        };
        table.add_row([case.topic, case.name, level]);
    }
    table.trim_fmt()
}

fn new_table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn readable(name: &str) -> String {
    name.replace('_', " ")
}
