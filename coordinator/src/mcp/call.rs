//! One call, from its arguments to its end. Whoever waits for it may go away at any time: a call
//! that was submitted is the broker's, and only a cancel ends it.

use std::convert::Infallible;
use std::time::Duration;

use a3s_coordinator::{Task, TaskHandle};
use a3s_shared::protocol::{Outcome, SessionLane, TaskResult, Token};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::live::{Output, Teller};

/// How long a cancelled call may take to say how it ended. Its worker needs less than a second; one
/// that nobody took is answered by the session.
const CANCEL_GRACE: Duration = Duration::from_secs(3);

/// How long nobody may be there who takes a call's lane, before it is given up: a worker that is
/// started anew needs less.
const DESERTED_AFTER: Duration = Duration::from_secs(5);

/// How often it is looked whether somebody is there: workers go silently, too.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What `bash` may take beyond the time that its arguments give the command.
const SLACK: Duration = Duration::from_secs(5);

/// The longest that a call may take: as long as its result would be kept.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A call that is to be made.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The task that it becomes.
    pub(super) id: String,
    /// The tool.
    pub(super) tool: String,
    /// Where it goes.
    pub(super) lane: SessionLane,
    arguments: Value,
    timeout: Duration,
}

/// How a call ended, as far as its client is concerned.
#[derive(Debug)]
pub(super) enum Ended {
    /// It has a result.
    Result(Box<TaskResult>),
    /// It was never started, and never will be: why.
    Refused(String),
    /// It was started, and whoever ran it is gone: why nobody knows more.
    Lost {
        /// The task.
        id: String,
        /// The sentence.
        why: String,
    },
    /// The door closes; the call goes on at the broker.
    Left,
}

impl Call {
    /// A call of `tool`; its time is that of the door, or what `bash` was given.
    pub(super) fn new(door: &Door, tool: &str, arguments: Value) -> Self {
        let asked = arguments.get("timeout").and_then(Value::as_u64);
        let asked = asked.filter(|_| tool == "bash").map(Duration::from_millis);
        let timeout = asked.map_or(door.options.timeout, |asked| asked.saturating_add(SLACK));
        Self {
            id: Token::unique().into(),
            tool: tool.to_owned(),
            lane: SessionLane::from_tool_name(tool),
            arguments,
            timeout: timeout.clamp(door.options.timeout.min(LONGEST), LONGEST),
        }
    }

    fn task(&self) -> Task {
        let ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        Task::new(&self.tool, self.arguments.clone())
            .id(&self.id)
            .timeout_ms(ms)
    }
}

/// Makes a call and waits for its end. With `teller`, what it prints is told meanwhile. When
/// `cancel` comes, it is ended on its worker too.
pub(super) async fn run(
    door: &Door,
    call: &Call,
    teller: Option<&mut Teller>,
    cancel: &CancellationToken,
) -> Ended {
    let served = tokio::select! {
        served = door.worker_for(&call.tool, call.lane) => served,
        () = cancel.cancelled() => return Ended::Refused("cancelled before it was submitted".into()),
        () = door.leaving.cancelled() => return Ended::Left,
    };
    if let Err(missing) = served {
        return Ended::Refused(missing);
    }
    // Before the task: what it prints at once must be heard.
    let output = match &teller {
        Some(_) => Output::of(door, &call.id).await,
        None => None,
    };
    let handle = match door.session.submit(call.lane, call.task()).await {
        Ok(handle) => handle,
        Err(error) => return Ended::Refused(error.to_string()),
    };
    follow(door, call, handle, output.zip(teller), cancel).await
}

async fn follow(
    door: &Door,
    call: &Call,
    handle: TaskHandle,
    telling: Option<(Output, &mut Teller)>,
    cancel: &CancellationToken,
) -> Ended {
    let mut outcome = std::pin::pin!(handle.outcome());
    let why = {
        let mut telling = std::pin::pin!(tell(telling, call));
        let mut deserted = std::pin::pin!(deserted(door, call.lane));
        tokio::select! {
            biased;
            result = &mut outcome => return ended(result),
            // Before the client's end: its last word may have been that it wants no answer.
            () = cancel.cancelled() => None,
            () = door.leaving.cancelled() => return Ended::Left,
            why = &mut deserted => Some(why),
            never = &mut telling => match never {},
        }
    };
    if let Some(why) = why {
        if let Some(lost) = lost(door, call, why.clone()).await {
            return lost;
        }
        return match end(door, call, outcome).await {
            Some(result) if result.outcome() != Outcome::Cancelled => {
                Ended::Result(Box::new(result))
            }
            _ => Ended::Refused(format!(
                "{why}; nobody had started the call, and it is cancelled"
            )),
        };
    }
    match end(door, call, outcome).await {
        Some(result) => Ended::Result(Box::new(result)),
        None => Ended::Refused("cancelled, but nobody has confirmed it yet".to_owned()),
    }
}

/// Cancels a call, and waits a moment for what it says to that.
async fn end(
    door: &Door,
    call: &Call,
    outcome: impl Future<Output = Result<TaskResult, a3s_coordinator::TaskError>>,
) -> Option<TaskResult> {
    let ending = async {
        if let Err(error) = door.session.cancel(&call.id).await {
            tracing::warn!(task.id = call.id, %error, "the call could not be cancelled");
        }
        outcome.await
    };
    timeout(CANCEL_GRACE, ending).await.ok()?.ok()
}

/// Tells what a call prints, for ever.
async fn tell(telling: Option<(Output, &mut Teller)>, call: &Call) -> Infallible {
    match telling {
        Some((output, teller)) => teller.tell_output(output, &call.id).await,
        None => std::future::pending().await,
    }
}

/// Resolves when nobody has been there for a while who could end the call, with why.
async fn deserted(door: &Door, lane: SessionLane) -> String {
    let mut since = None;
    loop {
        match door.deserted(lane) {
            None => since = None,
            Some(why) => {
                let since = *since.get_or_insert_with(tokio::time::Instant::now);
                if since.elapsed() >= DESERTED_AFTER {
                    return why;
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// How a call ended that may start once and had been started by a worker that is gone. It stays
/// where it is: the next worker, or its deadline, ends it.
async fn lost(door: &Door, call: &Call, why: String) -> Option<Ended> {
    let record = door.broker().record(door.session.id(), &call.id).await;
    let claimed = record.is_ok_and(|(record, _)| record.claim.is_some());
    claimed.then(|| Ended::Lost {
        id: call.id.clone(),
        why,
    })
}

fn ended(result: Result<TaskResult, a3s_coordinator::TaskError>) -> Ended {
    match result {
        Ok(result) => Ended::Result(Box::new(result)),
        Err(error) => Ended::Refused(error.to_string()),
    }
}
