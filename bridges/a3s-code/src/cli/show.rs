//! What is printed: the answer to standard output, who did what to standard error; or all of it
//! as JSON lines to standard output.

use std::collections::BTreeMap;
use std::io::{self, Write as _};

use a3s_code_core::AgentEvent;
use a3s_code_fleet::{FleetStats, Report};
use serde_json::{Value, json};

use super::failure::Failure;

/// Prints what comes, and keeps what the table at the end needs.
pub(crate) struct Show {
    json: bool,
    /// Whether the answer's last line is open.
    open: bool,
    workers: BTreeMap<String, Done>,
}

/// What a worker did.
#[derive(Default)]
struct Done {
    tasks: u64,
    duration_ms: u64,
    tools: BTreeMap<String, u64>,
}

impl Show {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            open: false,
            workers: BTreeMap::new(),
        }
    }

    /// An event of the agent.
    pub(crate) fn event(&mut self, event: &AgentEvent) -> Result<(), Failure> {
        if self.json {
            return line(&json!(event));
        }
        match event {
            AgentEvent::TextDelta { text } => {
                self.open = !text.ends_with('\n');
                print(text)
            }
            AgentEvent::End { .. } => self.close(),
            AgentEvent::Error { message } => {
                self.close()?;
                eprintln!("error: {message}");
                Ok(())
            }
            AgentEvent::PermissionDenied {
                tool_name, reason, ..
            } => {
                self.close()?;
                eprintln!("denied: {tool_name}: {reason}");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The end of a task.
    pub(crate) fn report(&mut self, report: &Report) -> Result<(), Failure> {
        if !report.worker_id.is_empty() {
            let done = self.workers.entry(report.worker_id.clone()).or_default();
            done.tasks += 1;
            done.duration_ms += report.duration_ms;
            *done.tools.entry(report.command_type.clone()).or_default() += 1;
        }
        if self.json {
            return line(&typed("fleet_task", json!(report)));
        }
        self.close()?;
        eprintln!("{}", sentence(report));
        Ok(())
    }

    /// The table of the workers.
    pub(crate) fn end(&mut self, stats: FleetStats) -> Result<(), Failure> {
        if self.json {
            return line(&typed("fleet_stats", json!(stats)));
        }
        self.close()?;
        let width = self.workers.keys().map(String::len).max().unwrap_or(0);
        for (worker, done) in &self.workers {
            let tools = done.tools.iter().map(|(tool, n)| format!("{n} {tool}"));
            let tools: Vec<String> = tools.collect();
            let (tasks, ms) = (done.tasks, done.duration_ms);
            eprintln!(
                "{worker:width$}  {tasks:>4} tasks {ms:>8} ms  {}",
                tools.join(", ")
            );
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.open) {
            return print("\n");
        }
        Ok(())
    }
}

fn sentence(report: &Report) -> String {
    let (tool, ms) = (&report.command_type, report.duration_ms);
    let error = report.error.as_deref();
    let error = error.map(|error| format!(": {error}")).unwrap_or_default();
    match report.outcome {
        Some(outcome) => format!("[{}] {tool} {outcome} in {ms} ms{error}", report.worker_id),
        None => format!("[no worker] {tool}{error}"),
    }
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["type"] = kind.into();
    value
}

fn line(value: &Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::agent(format!("cannot write to standard output: {error}")))
}
