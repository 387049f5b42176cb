//! The process that submits, a coordinator as any other, which may be killed at any line: started
//! again, it reads what it had written down and goes on, as a careful user would. A task without
//! an answer is submitted again under its id.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use a3s_coordinator::{Coordinator, Session, SessionQueueConfig};
use a3s_shared::protocol::{Event, EventKind, clock};
use anyhow::{Context as _, Result};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::ledger::lines::{Run, Submit, View};
use super::ledger::{Journal, RUN, SCRIPT, SUBMITS, read};
use super::workload::{Home, Shape, Spec};

/// Submits what is still to be submitted of the run in `dir`, and waits for all answers.
///
/// # Errors
/// When the ledger cannot be read or written, or the broker is not there at the beginning.
pub(crate) async fn submit_all(coordinator: &Coordinator, dir: &Path) -> Result<()> {
    let run: Run = read::json(dir, RUN)?;
    let (written, _) = read::journal(dir, SUBMITS);
    let journal = Journal::open(&dir.join(SUBMITS))?;
    journal.note(&Submit::Began { at_ms: now() }).await?;
    let client = Arc::new(Client::open(coordinator, &run, dir, journal).await?);
    let room = Arc::new(Semaphore::new(run.concurrency));
    let mut under_way = JoinSet::new();
    for index in open_tasks(&written, run.tasks) {
        sleep(Duration::from_millis(
            run.due_ms(index).saturating_sub(now()),
        ))
        .await;
        let place = Arc::clone(&room).acquire_owned().await?;
        let (client, spec) = (Arc::clone(&client), Spec::of(run.seed, index));
        under_way.spawn(async move { client.carry(spec, place).await });
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

fn now() -> u64 {
    clock::local_now_ms()
}

/// The numbers of the tasks without an answer, in order: those of an earlier process first.
fn open_tasks(written: &[Submit], tasks: usize) -> impl Iterator<Item = usize> + use<> {
    let (mut open, mut next) = (BTreeSet::new(), 0);
    for line in written {
        match line {
            Submit::Intent { task, .. } => {
                let index = Spec::index_of(task).unwrap_or(0);
                open.insert(index);
                next = next.max(index + 1);
            }
            Submit::Ended(View { task, .. }) | Submit::Trouble { task, .. } => {
                open.remove(&Spec::index_of(task).unwrap_or(0));
            }
            Submit::Began { .. } | Submit::Sent { .. } | Submit::Accepted { .. } => {}
        }
    }
    open.into_iter().chain(next..tasks)
}

/// The sessions of a run, and where it is written down what becomes of their tasks.
struct Client {
    sessions: [Session; Home::ALL.len()],
    script: String,
    journal: Journal,
    /// Ends with the client.
    _listeners: JoinSet<()>,
}

impl Client {
    async fn open(
        coordinator: &Coordinator,
        run: &Run,
        dir: &Path,
        journal: Journal,
    ) -> Result<Self> {
        let jobs = run.concurrency;
        let config = SessionQueueConfig {
            control_max_concurrency: jobs,
            query_max_concurrency: jobs,
            execute_max_concurrency: jobs,
            generate_max_concurrency: jobs,
            ..SessionQueueConfig::default().with_external_lanes()
        };
        let open = Home::ALL.map(|home| {
            let session = coordinator
                .session(home.session(&run.name))
                .config(config.clone())
                .route(home.route())
                .encoding(home.encoding());
            session.open()
        });
        let sessions = futures::future::try_join_all(open).await?;
        let mut listeners = JoinSet::new();
        for session in &sessions {
            listeners.spawn(note_accepted(session.subscribe().await, journal.clone()));
        }
        Ok(Self {
            sessions: sessions
                .try_into()
                .ok()
                .context("a session for each home")?,
            script: dir.join(SCRIPT).display().to_string(),
            journal,
            _listeners: listeners,
        })
    }

    /// Takes one task from its intent to its answer.
    async fn carry(&self, spec: Spec, _place: OwnedSemaphorePermit) -> Result<()> {
        let (task, at_ms) = (spec.id(), now());
        self.journal
            .note(&Submit::Intent {
                task: task.clone(),
                at_ms,
            })
            .await?;
        let session = &self.sessions[spec.home as usize];
        let handle = match session.submit(spec.lane, spec.task(&self.script)).await {
            Ok(handle) => handle,
            Err(error) => return self.trouble(&task, &error.to_string()).await,
        };
        let sent = Submit::Sent {
            task: task.clone(),
            at_ms: now(),
        };
        self.journal.note(&sent).await?;
        if let Shape::Cancelled { after_ms } = spec.shape {
            let (session, task) = (session.clone(), task.clone());
            tokio::spawn(async move {
                sleep(Duration::from_millis(after_ms)).await;
                // Without an answer the task runs on, and has an outcome all the same.
                let _ = session.cancel(&task).await;
            });
        }
        match handle.await {
            Ok(result) => Ok(self
                .journal
                .note(&Submit::Ended(View::of(&result, now())))
                .await?),
            Err(error) => self.trouble(&task, &error.to_string()).await,
        }
    }

    async fn trouble(&self, task: &str, error: &str) -> Result<()> {
        let line = Submit::Trouble {
            task: task.to_owned(),
            error: error.to_owned(),
            at_ms: now(),
        };
        Ok(self.journal.note(&line).await?)
    }
}

/// Writes down each task that the broker has accepted.
async fn note_accepted(mut events: broadcast::Receiver<Event>, journal: Journal) {
    loop {
        let event = match events.recv().await {
            Ok(event) => event,
            // What was missed counts as not accepted; its execution tells otherwise.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if event.kind == EventKind::Submitted
            && let Some(task) = event.task_id
        {
            let at_ms = now();
            if journal
                .note(&Submit::Accepted { task, at_ms })
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_begins_again_goes_on_with_what_has_no_answer() {
        let intent = |index: usize| Submit::Intent {
            task: Spec::of(1, index).id(),
            at_ms: 1,
        };
        let answered = Submit::Trouble {
            task: Spec::of(1, 1).id(),
            error: "refused".to_owned(),
            at_ms: 2,
        };
        let written = [intent(0), intent(1), intent(2), answered];
        let open: Vec<usize> = open_tasks(&written, 5).collect();
        assert_eq!(open, [0, 2, 3, 4]);
        assert_eq!(open_tasks(&[], 2).collect::<Vec<_>>(), [0, 1]);
    }
}
