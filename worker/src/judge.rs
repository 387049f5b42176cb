//! What is to be done about a task. Pure: it is told what the broker and the tool said.

use std::time::Duration;

use a3s_shared::protocol::{CancelMarker, Effect, Encoding, ExternalTask, RetryPolicy, TaskRecord};

use crate::answers;
use crate::tool::{ToolResult, Verdict};

/// A decoded task with what its message and record say.
pub(crate) struct Job {
    pub(crate) task: ExternalTask,
    pub(crate) encoding: Encoding,
    pub(crate) effect: Effect,
    pub(crate) retry: RetryPolicy,
    pub(crate) record: TaskRecord,
    pub(crate) revision: u64,
    /// Which attempt this is, from 1; 0 before one was started.
    pub(crate) attempt: u32,
    pub(crate) started_at_ms: u64,
}

/// What is to be done about a task after it was looked at or run.
#[derive(Debug, PartialEq)]
pub(crate) enum Settlement {
    /// Store this result, then acknowledge.
    Answer(ToolResult),
    /// Keep it among the dead letters, store a failed result, acknowledge.
    Bury(String),
    /// Have it delivered again after the delay; the attempt counts.
    Again { error: String, delay: Duration },
    /// Have it delivered again now; nothing happened.
    HandBack,
    /// It has a result already: acknowledge.
    Acknowledge,
    /// Somebody else has it by now, or the broker does not answer: say nothing.
    Withhold,
}

/// Which attempt a start now would be. An `idempotent` task's attempts are its deliveries less
/// what was handed back; a `once` task's are its claims, because it may be delivered again as
/// long as nobody has claimed it.
pub(crate) fn attempt_of(job: &Job, delivered: u64) -> u32 {
    match job.effect {
        Effect::Idempotent => job.record.attempt(delivered),
        Effect::Once => u32::try_from(job.record.attempts.len())
            .unwrap_or(u32::MAX)
            .saturating_add(1),
    }
}

/// What the task's record, marker and deadline say, in the order that matters: what happened
/// comes before what is wished.
pub(crate) fn judge(
    job: &Job,
    delivered: u64,
    marker: Option<&CancelMarker>,
) -> Option<Settlement> {
    if let Some(claim) = &job.record.claim {
        return Some(Settlement::Answer(answers::unknown(claim)));
    }
    if let Some(marker) = marker {
        return Some(Settlement::Answer(answers::cancelled(marker)));
    }
    if job.task.is_timed_out() {
        return Some(Settlement::Answer(answers::too_late(&job.task)));
    }
    let attempts = job.retry.max_attempts();
    (attempt_of(job, delivered) > attempts)
        .then(|| Settlement::Bury(answers::exhausted(&job.record, attempts)))
}

/// What a verdict means for the task. `jitter`, between 0 and 1, spreads the next attempts of tasks
/// that failed together.
pub(crate) fn conclude(verdict: Option<Verdict>, job: &Job, jitter: f64) -> Settlement {
    let (error, delay) = match verdict {
        Some(Verdict::Done(result)) => return Settlement::Answer(result),
        Some(Verdict::Reject(error)) => return Settlement::Bury(error),
        Some(Verdict::Retry(error)) => {
            let delay = job.retry.delay_ms(job.attempt, jitter);
            (error, Duration::from_millis(delay))
        }
        Some(Verdict::RetryAfter(error, delay)) => (error, delay),
        None => return Settlement::Withhold,
    };
    if job.attempt >= job.retry.max_attempts() {
        let attempts = job.attempt;
        return Settlement::Bury(format!("{error} (attempt {attempts} of {attempts})"));
    }
    Settlement::Again { error, delay }
}

#[cfg(test)]
mod tests {
    use a3s_shared::protocol::{AttemptNote, Claim, ErrorKind, SessionLane, clock};
    use serde_json::{Value, json};

    use super::*;

    fn job(effect: Effect) -> Job {
        Job {
            task: ExternalTask {
                task_id: "t".to_owned(),
                session_id: "s".to_owned(),
                lane: SessionLane::Query,
                command_type: "read".to_owned(),
                payload: Value::Null,
                timeout_ms: 60_000,
                deadline_ms: clock::now_ms() + 60_000,
            },
            encoding: Encoding::Json,
            effect,
            retry: RetryPolicy::default(),
            record: TaskRecord::default(),
            revision: 0,
            attempt: 1,
            started_at_ms: 0,
        }
    }

    fn kind(settlement: Option<Settlement>) -> Option<ErrorKind> {
        match settlement {
            Some(Settlement::Answer(result)) => result.error_kind,
            _ => None,
        }
    }

    #[test]
    fn what_happened_comes_before_what_is_wished_and_that_before_the_time() {
        let mut job = job(Effect::Once);
        assert_eq!(judge(&job, 1, None), None, "it is to be run");
        job.task.deadline_ms = 1;
        assert_eq!(kind(judge(&job, 9, None)), Some(ErrorKind::TimedOut));
        let marker = CancelMarker::default();
        assert_eq!(
            kind(judge(&job, 9, Some(&marker))),
            Some(ErrorKind::Cancelled)
        );
        let (worker_id, attempt, at_ms) = ("w".to_owned(), 1, 1);
        job.record.claim = Some(Claim {
            worker_id,
            attempt,
            at_ms,
        });
        assert_eq!(
            kind(judge(&job, 9, Some(&marker))),
            Some(ErrorKind::Unknown)
        );
    }

    #[test]
    fn deliveries_are_attempts_of_idempotent_tasks_only() {
        let mut idempotent = job(Effect::Idempotent);
        assert_eq!(judge(&idempotent, 4, None), None);
        assert!(matches!(
            judge(&idempotent, 5, None),
            Some(Settlement::Bury(_))
        ));
        idempotent.record.handed_back = 1;
        assert_eq!(judge(&idempotent, 5, None), None, "one was handed back");
        assert_eq!(
            judge(&job(Effect::Once), 50, None),
            None,
            "nobody has claimed it yet"
        );
    }

    #[test]
    fn another_attempt_is_had_until_none_is_left() {
        let mut job = job(Effect::Idempotent);
        let retry = || Some(Verdict::Retry("busy".to_owned()));
        let delay = Duration::from_millis(100);
        let error = "busy".to_owned();
        assert_eq!(
            conclude(retry(), &job, 1.0),
            Settlement::Again { error, delay }
        );
        job.attempt = 4;
        let given_up = Settlement::Bury("busy (attempt 4 of 4)".to_owned());
        assert_eq!(conclude(retry(), &job, 1.0), given_up);
        let reject = Some(Verdict::Reject("never".to_owned()));
        assert_eq!(
            conclude(reject, &job, 0.0),
            Settlement::Bury("never".to_owned())
        );
        assert_eq!(conclude(None, &job, 0.0), Settlement::Withhold);
    }

    #[test]
    fn a_once_tasks_attempts_are_those_that_were_noted() {
        let mut job = job(Effect::Once);
        assert_eq!(attempt_of(&job, 7), 1);
        job.record.attempts.push(AttemptNote {
            attempt: 1,
            worker_id: "w".to_owned(),
            at_ms: 1,
            error: json!("busy").to_string(),
        });
        assert_eq!(attempt_of(&job, 7), 2);
    }
}
