//! Data to standard output, talk to standard error.

use std::cell::Cell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

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

/// How often a plain line says how far a verb has come.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// How far a verb has come, on standard error: a bar on a terminal (unless results go to the same
/// one, where the two would overwrite each other), plain lines in a log, nothing beside JSON.
pub(crate) struct Progress {
    bar: ProgressBar,
    unit: &'static str,
    /// When the next plain line is due; `None` where there are none.
    plain_at: Cell<Option<Instant>>,
}

impl Progress {
    /// Progress in `unit`s, of which there are `total` where that is known. `json` says that
    /// results are for a program.
    pub(crate) fn new(total: Option<usize>, unit: &'static str, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = match terminal && !std::io::stdout().is_terminal() {
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
        let plain_at = Cell::new((!terminal && !json).then(|| Instant::now() + PLAIN_EVERY));
        Self {
            bar,
            unit,
            plain_at,
        }
    }

    /// One more is done; so many failed.
    pub(crate) fn advance(&self, failed: usize) {
        if failed > 0 {
            self.bar.set_message(format!("{failed} failed"));
        }
        self.bar.inc(1);
        self.say_plainly(failed);
    }

    fn say_plainly(&self, failed: usize) {
        if self.plain_at.get().is_some_and(|at| Instant::now() >= at) {
            self.plain_at.set(Some(Instant::now() + PLAIN_EVERY));
            let of = self
                .bar
                .length()
                .map(|n| format!(" of {n}"))
                .unwrap_or_default();
            let (done, unit) = (self.bar.position(), self.unit);
            eprintln!("{done}{of} {unit} done, {failed} failed");
        }
    }

    /// So many are done, in all.
    pub(crate) fn at(&self, done: usize) {
        self.bar.set_position(done as u64);
        self.say_plainly(0);
    }

    /// Prints a line of talk without tearing the bar.
    pub(crate) fn say(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
