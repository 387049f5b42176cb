//! What the broker and this machine hold: looked at while a run goes on, and when it is over.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use a3s_shared::broker::{Broker, BrokerError, StoredTask, TaskStream};
use a3s_shared::protocol::clock;
use anyhow::Result;
use futures::TryStreamExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::ledger::lines::{AtTheEnd, Left, Letter, View};
use super::ledger::{Journal, TOLD};
use super::workload::Home;

/// How often it is looked whether something is left.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Writes down every result that the broker tells of a run.
pub(crate) struct Listener {
    told: Arc<AtomicUsize>,
    /// Ends with the listener.
    _feeds: JoinSet<()>,
}

impl Listener {
    /// Listens to the sessions of run `name` from now on.
    ///
    /// # Errors
    /// When the broker does not answer, or the ledger cannot be written.
    pub(crate) async fn start(broker: &Broker, name: &str, dir: &Path) -> Result<Self> {
        let journal = Journal::open(&dir.join(TOLD))?;
        let told = Arc::new(AtomicUsize::new(0));
        let mut feeds = JoinSet::new();
        for home in Home::ALL {
            let mut feed = broker.subscribe_results(&home.session(name)).await?;
            let (journal, told) = (journal.clone(), Arc::clone(&told));
            feeds.spawn(async move {
                while let Some(result) = feed.next().await {
                    told.fetch_add(1, Ordering::Relaxed);
                    let view = View::of(&result, clock::local_now_ms());
                    if journal.note_soon(&view).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self {
            told,
            _feeds: feeds,
        })
    }

    /// How many results it has heard of.
    pub(crate) fn told(&self) -> usize {
        self.told.load(Ordering::Relaxed)
    }
}

/// Looks for what is left of a run until nothing is, at most `bound`.
///
/// # Errors
/// When the broker does not answer.
pub(crate) async fn left(
    broker: &Broker,
    name: &str,
    leases: bool,
    bound: Duration,
) -> Result<Left> {
    let until = Instant::now() + bound;
    loop {
        let left = Left {
            tasks: tasks(broker, name).await?,
            leases: match leases {
                true => open_leases(broker).await?,
                false => Vec::new(),
            },
            processes: processes(name),
        };
        if left == Left::default() || Instant::now() >= until {
            return Ok(left);
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The tasks of a run that are in a stream.
///
/// # Errors
/// When the broker does not answer.
pub(crate) async fn tasks(broker: &Broker, name: &str) -> Result<Vec<String>, BrokerError> {
    let mut found = Vec::new();
    for home in Home::ALL {
        let filter = broker.names().of_session(&home.session(name));
        for which in [TaskStream::Pool, TaskStream::Own] {
            let stream = broker.names().tasks(which);
            for message in broker.scan(&stream, &filter, 1).await? {
                let Some(stored) = StoredTask::read(broker, &stream, message) else {
                    continue;
                };
                let task = stored.task(broker).await.map(|(task, _)| task.task_id);
                found.push(task.unwrap_or_else(|_| stored.fallback_id(broker)));
            }
        }
    }
    Ok(found)
}

/// The consumers that wait for an answer to a delivery, and to how many.
async fn open_leases(broker: &Broker) -> Result<Vec<(String, usize)>> {
    let mut open = Vec::new();
    for which in [TaskStream::Pool, TaskStream::Own] {
        let stream = broker
            .jetstream()
            .get_stream(broker.names().tasks(which))
            .await?;
        let consumers: Vec<_> = stream.consumers().try_collect().await?;
        let waiting = consumers
            .into_iter()
            .filter(|info| info.num_ack_pending > 0);
        open.extend(waiting.map(|info| (info.name, info.num_ack_pending)));
    }
    Ok(open)
}

/// The processes that tools of a run started: they bear its session in their environment.
pub(crate) fn processes(name: &str) -> Vec<(u32, String)> {
    let mark = format!("A3S_SESSION_ID={name}-");
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
        let ours = environment
            .split(|&byte| byte == 0)
            .any(|variable| variable.starts_with(mark.as_bytes()));
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        (ours && !command.is_empty()).then_some((pid, command))
    })
    .collect()
}

/// Reads from the broker what became of a run.
///
/// # Errors
/// When the broker does not answer.
pub(crate) async fn at_the_end(broker: &Broker, name: &str, left: Left) -> Result<AtTheEnd> {
    let (mut results, mut letters) = (Vec::new(), Vec::new());
    for home in Home::ALL {
        let session = home.session(name);
        let filter = broker.names().result(&session, "*");
        for message in broker.scan(&broker.names().results(), &filter, 1).await? {
            let stored_at_ms = message.stored_at_ms;
            let result = broker.read_result(&message.headers, message.body).await?;
            results.push(View::of(&result, stored_at_ms));
        }
        letters.extend(
            broker
                .dead_letters(Some(&session))
                .await?
                .into_iter()
                .map(|letter| Letter {
                    task: letter.task_id,
                    attempts: letter.attempts,
                }),
        );
    }
    Ok(AtTheEnd {
        results,
        letters,
        left,
    })
}
