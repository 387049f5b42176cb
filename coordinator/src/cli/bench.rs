//! `bench`: how fast tasks come back from the workers that are there.

use std::time::Duration;

use a3s_coordinator::bench::{Load, Percentiles, Summary, Until, drive, open_sessions};
use a3s_shared::protocol::{DEFAULT_POOL, Encoding, Serves, SessionLane, Token};
use clap::Args;
use clap::builder::BoolishValueParser;
use serde_json::json;

use super::app::{App, Globals};
use super::duration;
use super::failure::{DONE, Failure};
use super::listing::listing;
use super::local_workers::hostname;
use super::output::Output;

/// The most tasks in flight: more fill queues and measure nothing else.
const MAX_IN_FLIGHT: u64 = 10_000;

/// The largest body that travels in a message; what is larger measures the object store.
const MAX_BODY: u64 = 256 * 1024;

/// Measure how fast tasks come back
///
/// Sends tasks that do nothing (tool noop) to the workers of pool default, keeps so many in
/// flight, and prints tasks per second and how long they took from submit to result. Where all
/// workers are on this machine, also from submit to start. Each task is a real one: stored,
/// leased, run, its result stored; results are kept for a day.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-coordinator bench
  a3s-coordinator --local-workers 2 bench --in-flight 512 --for 10s
  a3s-coordinator bench --in-flight 1 --json | jq .result_us.p50")]
pub(crate) struct Bench {
    /// Tasks that are submitted and not yet answered at a time
    #[arg(long, value_name = "N", env = "A3S_IN_FLIGHT", default_value_t = 64,
          value_parser = clap::value_parser!(u64).range(1..=MAX_IN_FLIGHT))]
    in_flight: u64,

    /// How long is measured; a quarter of it goes before, to warm up
    #[arg(long = "for", value_name = "TIME", env = "A3S_BENCH_FOR", default_value = "5s", value_parser = duration::parse)]
    time: Duration,

    /// Bytes of a task's body
    #[arg(long, value_name = "BYTES", env = "A3S_BENCH_BODY", default_value_t = 256,
          value_parser = clap::value_parser!(u64).range(1..=MAX_BODY))]
    body: u64,

    /// Sessions, to which tasks go in turn
    #[arg(long, value_name = "N", env = "A3S_BENCH_SESSIONS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=100_000))]
    sessions: u64,

    /// One JSON object; times in microseconds
    #[arg(long, env = "A3S_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
}

impl Bench {
    /// Measures and prints.
    pub(crate) async fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let serves = Serves::Pool(DEFAULT_POOL.to_owned());
        App::run(globals, &serves, async |app| self.measure(app).await).await
    }

    async fn measure(&self, app: &App) -> Result<u8, Failure> {
        let in_flight = usize::try_from(self.in_flight).map_err(Failure::broker)?;
        let count = usize::try_from(self.sessions).map_err(Failure::broker)?;
        let name = format!("bench-{}", Token::unique());
        let encoding = Encoding::default();
        let opening = open_sessions(&app.coordinator, &name, count, in_flight, encoding);
        let sessions = opening.await.map_err(Failure::broker)?;
        let Some(first) = sessions.first() else {
            return Err(Failure::usage("no sessions"));
        };
        if let Some(why) = first.unserved(SessionLane::Query) {
            return Err(Failure::broker(why));
        }
        let here = hostname();
        let workers = app.coordinator.fleet().workers();
        let same_clock = workers.iter().all(|worker| worker.host == here);
        let load = |time: Duration| Load {
            in_flight,
            body_bytes: usize::try_from(self.body).unwrap_or(usize::MAX),
            every: None,
            until: Until::Elapsed(time),
        };
        let payload = load(self.time).payload(first.id(), encoding);
        let run = async {
            drive(&sessions, &payload, &load(self.time / 4), same_clock).await?;
            drive(&sessions, &payload, &load(self.time), same_clock).await
        };
        let timings = tokio::select! {
            timings = run => timings.map_err(Failure::broker)?,
            () = app.shutdown.draining() => return Ok(super::failure::INTERRUPTED),
        };
        self.print(&timings.summary(), workers.len()).await?;
        Ok(DONE)
    }

    async fn print(&self, summary: &Summary, workers: usize) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.json {
            let shown = json!({
                "workers": workers,
                "in_flight": self.in_flight,
                "body_bytes": self.body,
                "sessions": self.sessions,
                "tasks": summary.tasks,
                "per_second": summary.per_second,
                "start_us": summary.start_us,
                "result_us": summary.result_us,
            });
            return output.json(&shown).await;
        }
        let head = format!(
            "{:.0} tasks/s: {} in {:?}, {} in flight, {} workers",
            summary.per_second, summary.tasks, self.time, self.in_flight, workers
        );
        output.line(&head).await?;
        let times = [
            ("submit to start", summary.start_us),
            ("submit to result", Some(summary.result_us)),
        ];
        let rows = times
            .into_iter()
            .filter_map(|(what, times)| Some(row(what, times?)));
        output
            .line(&listing(["ms", "p50", "p99", "p99.9"], rows))
            .await?;
        if summary.start_us.is_none() {
            eprintln!(
                "some workers are on other machines: the clocks are not compared, so starts are not timed"
            );
        }
        Ok(())
    }
}

fn row(what: &str, times: Percentiles) -> [String; 4] {
    let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
    [
        what.to_owned(),
        ms(times.p50),
        ms(times.p99),
        ms(times.p99_9),
    ]
}
