//! Data to standard output, talk to standard error.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::io::{AsyncWriteExt as _, Stdout};

use super::failure::Failure;

/// Standard output. Writing happens beside the thread that talks to the broker: a pager that
/// does not read must not cost the connection.
pub(crate) struct Output(Stdout);

impl Output {
    /// Standard output.
    pub(crate) fn new() -> Self {
        Self(tokio::io::stdout())
    }

    /// Writes bytes, at once.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written = async {
            self.0.write_all(bytes).await?;
            self.0.flush().await
        };
        written
            .await
            .map_err(|e| Failure::output("standard output", &e))
    }

    /// Writes text and ends its last line.
    pub(crate) async fn line(&mut self, text: &str) -> Result<(), Failure> {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        self.write(format!("{text}{end}").as_bytes()).await
    }

    /// Writes one JSON value on one line.
    pub(crate) async fn json(&mut self, value: &Value) -> Result<(), Failure> {
        self.line(&value.to_string()).await
    }
}

/// How far a verb has come, on standard error. Only for somebody who looks: standard error is a
/// terminal and standard output is not, where the two would overwrite each other.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Progress in `unit`s, of which there are `total` where that is known.
    pub(crate) fn new(total: Option<usize>, unit: &str) -> Self {
        let shown = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        let target = match shown {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(total.map(|n| n as u64), target);
        let template = match total {
            Some(_) => format!("{{bar:40}} {{pos}}/{{len}} {unit} {{elapsed}} {{msg}}"),
            None => format!("{{spinner}} {{pos}} {unit} {{elapsed}} {{msg}}"),
        };
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// One more is done; so many failed.
    pub(crate) fn advance(&self, failed: usize) {
        if failed > 0 {
            self.0.set_message(format!("{failed} failed"));
        }
        self.0.inc(1);
    }

    /// Prints a line of talk without tearing the bar.
    pub(crate) fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
