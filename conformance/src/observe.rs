//! What cases see of tasks: results, records, letters, traces, leases; and what they do to them in
//! the place of other workers.

use a3s_shared::broker::Stored;
use a3s_shared::protocol::{
    CancelMarker, Claim, DeadLetter, Encoding, Outcome, SessionLane, TaskRecord, TaskResult, clock,
};
use anyhow::{Context, Result, ensure};
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::{AckKind, consumer::Consumer};
use futures::StreamExt;

use crate::rig::Rig;
use crate::task::SESSION;
use crate::wait::{bound, until};

/// The end of the time of records and markers that cases write.
const LATER_MS: u64 = 600_000;

impl Rig {
    /// Waits for the result of a task of [`SESSION`].
    ///
    /// # Errors
    /// When none comes.
    pub async fn result(&self, id: &str) -> Result<TaskResult> {
        self.result_of(SESSION, id).await
    }

    /// Waits for the result of a task.
    ///
    /// # Errors
    /// When none comes.
    pub async fn result_of(&self, session: &str, id: &str) -> Result<TaskResult> {
        until(&format!("the result of task {id}"), async || {
            let found = self.broker.result(session, id).await?;
            found.context("there is none")
        })
        .await
    }

    /// Waits for the result of a task, and expects an outcome.
    ///
    /// # Errors
    /// When none comes, or one with another outcome.
    pub async fn ends(&self, id: &str, outcome: Outcome) -> Result<TaskResult> {
        let result = self.result(id).await?;
        let found = result.outcome();
        ensure!(
            found == outcome,
            "the task is {found}, not {outcome}: {result:?}"
        );
        Ok(result)
    }

    /// Stores a result, as another worker or the coordinator would.
    ///
    /// # Errors
    /// When there is one already.
    pub async fn answer(&self, result: &TaskResult) -> Result<()> {
        let stored = self.broker.publish_result(result, Encoding::Json).await?;
        ensure!(stored == Stored::First, "the task was answered before");
        Ok(())
    }

    /// How many results are stored for a task.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn stored_results(&self, id: &str) -> Result<usize> {
        let subject = format!("a3s.{SESSION}.result.{id}");
        Ok(self.broker.scan("A3S_RESULTS", &subject, 1).await?.len())
    }

    /// A task's record.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn record(&self, id: &str) -> Result<TaskRecord> {
        Ok(self.broker.record(SESSION, id).await?.0)
    }

    /// Writes a task's record, as an earlier worker would.
    ///
    /// # Errors
    /// When there is one already.
    pub async fn write_record(&self, id: &str, record: &TaskRecord) -> Result<()> {
        let until = clock::now_ms() + LATER_MS;
        let written = self.broker.write_record(SESSION, id, record, 0, until);
        written.await?;
        Ok(())
    }

    /// Wishes that a task of `session` ends.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn cancel(&self, session: &str, id: &str) -> Result<()> {
        let marker = CancelMarker {
            reason: "no longer wanted".to_owned(),
            at_ms: clock::now_ms(),
        };
        let until = clock::now_ms() + LATER_MS;
        self.broker.cancel(session, id, &marker, until).await?;
        Ok(())
    }

    /// The dead letter of a task. It is there when the task's result is.
    ///
    /// # Errors
    /// When there is none.
    pub async fn letter(&self, session: &str, id: &str) -> Result<DeadLetter> {
        let letters = self.broker.dead_letters(Some(session)).await?;
        let letter = letters.into_iter().find(|letter| letter.task_id == id);
        letter.with_context(|| format!("there is no dead letter of task {id}"))
    }

    /// The lines that tools have written to a file.
    #[must_use]
    pub fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often a tool that writes to this file was started.
    #[must_use]
    pub fn starts(&self, name: &str) -> usize {
        let lines = self.lines(name);
        lines
            .iter()
            .filter(|line| line.starts_with("start"))
            .count()
    }

    /// Waits until tools that write to this file were started `times`.
    ///
    /// # Errors
    /// When they were not.
    pub async fn started(&self, name: &str, times: usize) -> Result<()> {
        until(&format!("start {times} in {name}"), async || {
            let starts = self.starts(name);
            ensure!(starts >= times, "{starts} were seen");
            Ok(())
        })
        .await
    }

    /// Expects that tools which write to this file were started `times`, neither more nor less.
    ///
    /// # Errors
    /// When they were started more or less often.
    pub fn expect_starts(&self, name: &str, times: usize) -> Result<()> {
        let starts = self.starts(name);
        ensure!(
            starts == times,
            "the tool was started {starts} times, not {times}"
        );
        Ok(())
    }

    /// Waits until no task is stored and no lease is held.
    ///
    /// # Errors
    /// When something stays.
    pub async fn nothing_is_left(&self) -> Result<()> {
        until("every task is acknowledged", async || {
            for stream in ["A3S_TASKS", "A3S_OWN"] {
                let tasks = self.stored_tasks(stream).await?;
                ensure!(tasks == 0, "{tasks} are left in {stream}");
            }
            let held = self.held().await?;
            ensure!(held == 0, "{held} are held");
            Ok(())
        })
        .await
    }

    /// How many tasks a stream holds.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn stored_tasks(&self, stream: &str) -> Result<u64> {
        let stream = self.broker.jetstream().get_stream(stream).await?;
        Ok(stream.cached_info().state.messages)
    }

    /// How many tasks of the pool `default` are with workers: delivered and not acknowledged.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn held(&self) -> Result<usize> {
        let mut held = 0;
        for lane in SessionLane::ALL {
            held += self.consumer(lane).await?.cached_info().num_ack_pending;
        }
        Ok(held)
    }

    /// How many pulls wait at a lane of the pool `default`.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn waiting_pulls(&self, lane: SessionLane) -> Result<usize> {
        Ok(self.consumer(lane).await?.cached_info().num_waiting)
    }

    async fn consumer(&self, lane: SessionLane) -> Result<Consumer<pull::Config>> {
        let stream = self.broker.jetstream().get_stream("A3S_TASKS").await?;
        let name = format!("pool-default-{}", lane.id());
        let consumer = stream.get_consumer(&name).await;
        consumer.map_err(|error| anyhow::anyhow!("no consumer {name}: {error}"))
    }

    /// Has the next task of the Query lane delivered `times`, each time to a worker that said
    /// nothing more of it. No worker may be running.
    ///
    /// # Errors
    /// When it is not delivered.
    pub async fn lose(&self, times: usize) -> Result<()> {
        for _ in 0..times {
            let consumer = self.consumer(SessionLane::Query).await?;
            let pulled = consumer.batch().max_messages(1).expires(bound()).messages();
            let next = pulled
                .await?
                .next()
                .await
                .context("no task was delivered")?;
            let task = next.map_err(|error| anyhow::anyhow!("{error}"))?;
            // The lease is given up rather than run out, which takes no time and counts as much.
            let given_up = task.ack_with(AckKind::Nak(None)).await;
            given_up.map_err(|error| anyhow::anyhow!("{error}"))?;
            self.broker.client().flush().await?;
        }
        Ok(())
    }
}

/// The claim of a worker that is gone.
#[must_use]
pub fn claimed() -> TaskRecord {
    TaskRecord {
        claim: Some(Claim {
            worker_id: "gone".to_owned(),
            attempt: 1,
            at_ms: clock::now_ms(),
        }),
        ..TaskRecord::default()
    }
}
