//! `send`: gives the agent a prompt, and shows its answer and who did what for it.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use a3s_code_core::config::CodeConfig;
use a3s_code_core::{Agent, AgentEvent, AgentSession, SessionOptions};
use a3s_code_fleet::{Fleet, FleetOptions};
use clap::Args;

use super::app::{App, with_app};
use super::failure::{DONE, FAILED, Failure, INTERRUPTED};
use super::show::Show;
use super::{Options, Target};

/// How long an interrupted agent may take to stop, and then to be stopped.
const SETTLE: Duration = Duration::from_secs(2);

/// Give the agent a prompt and print its answer
///
/// The answer goes to standard output as it comes. Each task that a worker did is a line on
/// standard error: who, what, how it ended, how long it took; a table of the workers follows.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  a3s-code-fleet --local-workers 3 send 'Which files define the wire format?'
  a3s-code-fleet --json send 'Run all tests in parallel' | jq -r 'select(.type == \"fleet_task\")'")]
pub(crate) struct Send {
    /// The prompt; - reads it from standard input
    prompt: String,
}

impl Send {
    /// Runs it.
    pub(crate) async fn run(self, options: &Options) -> Result<u8, Failure> {
        let prompt = self.read()?;
        let config = CodeConfig::from_file(&options.config).map_err(Failure::usage)?;
        let target = options.session.target();
        with_app(options, &target.serves(), async |app| {
            let (session, fleet) = attach(options, &target, config, app).await?;
            let outcome = converse(&session, &fleet, &prompt, options.json, app).await;
            fleet.close().await;
            session.close().await;
            outcome
        })
        .await
    }

    fn read(&self) -> Result<String, Failure> {
        let mut prompt = self.prompt.clone();
        if prompt == "-" {
            prompt.clear();
            let read = std::io::stdin().read_to_string(&mut prompt);
            read.map_err(|error| Failure::usage(format!("cannot read the prompt: {error}")))?;
        }
        match prompt.trim() {
            "" => Err(Failure::usage(
                "the prompt is empty: say what the agent is to do",
            )),
            prompt => Ok(prompt.to_owned()),
        }
    }
}

async fn attach(
    options: &Options,
    target: &Target,
    config: CodeConfig,
    app: &App,
) -> Result<(Arc<AgentSession>, Fleet), Failure> {
    let fleet = FleetOptions::from_queue(config.queue.clone().unwrap_or_default());
    let (session, prepared) = options.refine(fleet, target).prepare(base(options));
    let agent = Agent::from_config(config).await.map_err(Failure::usage)?;
    let workspace = std::path::absolute(&options.local.workspace).map_err(Failure::usage)?;
    let session = agent
        .session_async(workspace.to_string_lossy(), Some(session))
        .await
        .map_err(Failure::usage)?;
    let session = Arc::new(session);
    let fleet = Fleet::attach(&session, &app.coordinator, prepared).await;
    Ok((session, fleet.map_err(Failure::broker)?))
}

fn base(options: &Options) -> SessionOptions {
    match &options.model {
        Some(model) => SessionOptions::new().with_model(model),
        None => SessionOptions::new(),
    }
}

/// Sends the prompt and shows what comes, until the agent has answered or is interrupted.
async fn converse(
    session: &AgentSession,
    fleet: &Fleet,
    prompt: &str,
    json: bool,
    app: &App,
) -> Result<u8, Failure> {
    let mut reports = fleet.subscribe();
    let (mut events, worker) = session.stream(prompt, None).await.map_err(Failure::agent)?;
    let mut show = Show::new(json);
    let (mut status, mut interrupted) = (FAILED, false);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                None => break,
                Some(event) => {
                    fleet.observe(&event);
                    if let AgentEvent::End { .. } = event {
                        status = DONE;
                    }
                    show.event(&event)?;
                }
            },
            Ok(report) = reports.recv() => show.report(&report)?,
            () = app.shutdown.draining(), if !interrupted => {
                interrupted = true;
                session.cancel_and_settle(SETTLE, SETTLE).await;
            }
        }
    }
    if let Err(error) = worker.await
        && !interrupted
    {
        return Err(Failure::agent(format!("the agent broke off: {error}")));
    }
    while let Ok(report) = reports.try_recv() {
        show.report(&report)?;
    }
    show.end(fleet.stats())?;
    Ok(if interrupted { INTERRUPTED } else { status })
}
