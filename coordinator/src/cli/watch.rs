//! `watch`: what happens, as it happens.

use a3s_shared::protocol::Event;
use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::app::{App, Globals};
use super::failure::{BROKER, DONE, Failure};
use super::moment::time_of_day;
use super::output::Output;

/// Print events as they happen: tasks, lanes under pressure, alerts
///
/// One line each, until Ctrl-C; times are UTC. Events are told once and not kept, so what happened
/// before is not shown, and nothing depends on them: `stats` and `task ls` know how things are.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator watch --session nightly
  a3s-coordinator watch --json | jq -r 'select(.error) | .task_id'")]
pub(crate) struct Watch {
    /// Of this session only
    #[arg(long, value_name = "ID", env = "A3S_SESSION")]
    session: Option<String>,
    /// One JSON object a line
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Watch {
    /// Prints until it is interrupted.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        App::look(globals, async |app| {
            let feed = app
                .coordinator
                .broker()
                .subscribe_events(self.session.as_deref());
            let mut feed = feed.await.map_err(Failure::broker)?;
            eprintln!("watching {}", app.place);
            let mut output = Output::new();
            loop {
                let event = tokio::select! {
                    event = feed.next() => event,
                    () = app.shutdown.draining() => return Ok(DONE),
                };
                let Some(event) = event else {
                    eprintln!("error: the connection was closed");
                    return Ok(BROKER);
                };
                match self.json {
                    true => output.json(&json!(event)).await?,
                    false => output.line(&line(&event)).await?,
                }
            }
        })
        .await
    }
}

/// An event as a line: time, what, where, which task, by whom, how long, why.
fn line(event: &Event) -> String {
    let kind = event.kind.id();
    let kind = kind.strip_prefix("queue.").unwrap_or(kind);
    let kind = kind.strip_prefix("command.").unwrap_or(kind);
    let mut text = format!(
        "{} {kind:<13} {}",
        time_of_day(event.time_ms),
        event.session_id
    );
    let mut add = |part: String| {
        text.push(' ');
        text.push_str(&part);
    };
    if let Some(lane) = event.lane {
        add(lane.id().to_owned());
    }
    for part in [&event.command_type, &event.task_id].into_iter().flatten() {
        add(part.clone());
    }
    if let Some(attempt) = event.attempt.filter(|attempt| *attempt > 1) {
        add(format!("attempt {attempt}"));
    }
    if let Some(worker) = &event.worker_id {
        add(format!("by {worker}"));
    }
    if let Some(ms) = event.duration_ms {
        add(format!("in {ms} ms"));
    }
    if let Some(ms) = event.delay_ms {
        add(format!("again in {ms} ms"));
    }
    if let Some(error) = &event.error {
        add(format!("- {}", error.lines().next().unwrap_or_default()));
    }
    text
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::{EventKind, SessionLane};

    use super::*;

    #[test]
    fn a_line_says_what_happened_to_which_task() {
        let event = Event {
            task_id: Some("t1".into()),
            lane: Some(SessionLane::Query),
            command_type: Some("read".into()),
            attempt: Some(2),
            worker_id: Some("w1".into()),
            duration_ms: Some(12),
            error: Some("gone\nfor good".into()),
            ..Event::of_session(EventKind::Failed, "s", 1_500)
        };
        assert_eq!(
            line(&event),
            "00:00:01.500 failed        s query read t1 attempt 2 by w1 in 12 ms - gone"
        );
        let event = Event::of_session(EventKind::ShutdownComplete, "s", 0);
        assert_eq!(line(&event), "00:00:00.000 shutdown.complete s");
    }
}
