//! `doctor`: what is wrong with an installation, and how to mend it.

use std::time::Duration;

use a3s_shared::broker::Broker;
use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::app::Globals;
use super::duration;
use super::failure::{DONE, FAILED, Failure};
use super::output::Output;
use crate::doctor::finding::{Finding, State};
use crate::doctor::{Limits, examine};

/// Say what is wrong, and how to mend it
///
/// Looks at the server and its storage, at streams and consumers, at the permissions of the
/// present credential, at the clock, at tasks that wait, at workers that take none, and at what is
/// left of sessions that are gone. Changes nothing. Exit status: 0 all is well, 1 something is
/// wrong, 3 there is no server to look at.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator doctor
  a3s-coordinator doctor --max-wait 10m --json | jq '.findings[] | select(.state == \"wrong\")'")]
pub(crate) struct Doctor {
    /// How long a task may wait until somebody takes it
    #[arg(long, value_name = "TIME", env = "A3S_DOCTOR_MAX_WAIT", default_value = "60s", value_parser = duration::parse)]
    max_wait: Duration,
    /// How full a stream may be, in percent
    #[arg(long, value_name = "PERCENT", env = "A3S_DOCTOR_MAX_FULL", default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=100))]
    max_full: u8,
    /// One JSON object
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Doctor {
    /// Looks and prints.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        // Without a coordinator, which would make what is missing.
        let connection = globals.connect(false).await?;
        let (client, domain) = (connection.client.clone(), connection.js_domain.clone());
        let broker = Broker::heeding(
            connection.denials(),
            client,
            domain.as_deref(),
            &connection.prefix,
        );
        let broker = broker.map_err(|error| Failure::usage(error.to_string()))?;
        let limits = Limits {
            wait: self.max_wait,
            full: self.max_full,
        };
        let findings = examine(&connection, &broker, &globals.settings, &limits).await;
        let well = findings.iter().all(|finding| finding.state != State::Wrong);
        let mut output = Output::new();
        if self.json {
            output
                .json(&json!({ "well": well, "findings": findings }))
                .await?;
        } else {
            for finding in &findings {
                output.line(&line(finding)).await?;
            }
            output
                .line(if well {
                    "all is well"
                } else {
                    "something is wrong"
                })
                .await?;
        }
        connection.close().await;
        Ok(if well { DONE } else { FAILED })
    }
}

fn line(finding: &Finding) -> String {
    let state = match finding.state {
        State::Good => "ok",
        State::Wrong => "WRONG",
        State::Unknown => "?",
    };
    let text = format!("{state:<6} {:<12} {}", finding.check, finding.text);
    match &finding.fix {
        Some(fix) => format!("{text}\n{:<19} → {fix}", ""),
        None => text,
    }
}
