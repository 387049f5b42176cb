//! What a reader is to see of a stored result: the result, or, where results are checked and this one
//! is not believed, that it is not. Never the forged value.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::HeaderMap;
use bytes::Bytes;
use serde_json::json;

use super::Broker;
use super::signatures::digest;
use crate::protocol::signature::{BodyDigest, Refusal, SignedResult, check_result};
use crate::protocol::{ErrorKind, SessionLane, TaskResult, headers};

/// Who answers in the place of a result that is not believed.
const HERE: &str = "coordinator";

/// A stored result as a reader is to see it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The result; or, in the place of one that is not believed, that it is not.
    pub result: TaskResult,
    /// The signature of the task that it answers, where results are checked.
    pub answers: Option<String>,
    /// Whether it is not believed.
    pub refused: bool,
}

impl Answer {
    /// A result as it is, where results are not checked.
    pub(super) fn unchecked(result: TaskResult) -> Self {
        Self {
            result,
            answers: None,
            refused: false,
        }
    }
}

/// How many results were refused. Shared by the clones of a broker.
#[derive(Debug, Clone, Default)]
pub(super) struct Refused(Arc<AtomicU64>);

impl Broker {
    /// How many results were not believed since the start.
    #[must_use]
    pub fn refused_results(&self) -> u64 {
        self.refused.0.load(Ordering::Relaxed)
    }

    /// What a reader is to see of a result that was read from the subject of a session's task.
    pub(super) async fn believe(
        &self,
        result: TaskResult,
        (session, task_id): (&str, &str),
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Answer {
        let Some(trust) = &self.signatures.trust else {
            return Answer::unchecked(result);
        };
        let text = |name| headers.get(name).map(async_nats::HeaderValue::as_str);
        let answers = text(headers::ANSWERS);
        let signed = SignedResult {
            subject: &self.names().result(session, task_id),
            session_id: &result.session_id,
            task_id: &result.task_id,
            worker_id: &result.worker_id,
            answers: answers.unwrap_or_default(),
            content_type: text(headers::CONTENT_TYPE).unwrap_or_default(),
            body: match text(headers::BLOB).and_then(BodyDigest::of_blob) {
                // Compared with the body when that was read.
                Some(digest) => digest,
                None => digest(body).await,
            },
        };
        let own = self.signatures.key.as_ref().map(|key| key.id());
        let (key, signature) = (text(headers::KEY), text(headers::SIGNATURE));
        let place = (result.session_id.as_str(), result.task_id.as_str());
        let verdict = match place == (session, task_id) {
            true => check_result(trust, own, &signed, &result, key, signature),
            false => Err(Refusal::Misplaced(result.task_id.clone())),
        };
        match verdict {
            Ok(()) => Answer {
                result,
                answers: answers.map(str::to_owned),
                refused: false,
            },
            Err(refusal) => self.disbelieve(result.lane, (session, task_id), &refusal),
        }
    }

    /// What its caller is told of a result that answers another task than the one it published.
    #[must_use]
    pub fn not_its_answer(&self, answer: Answer) -> Answer {
        let (session, id) = (
            answer.result.session_id.clone(),
            answer.result.task_id.clone(),
        );
        self.disbelieve(answer.result.lane, (&session, &id), &Refusal::OtherTask)
    }

    /// What a reader is to see of what lies on the subject of a session's task and is no result. (Its
    /// lane is nowhere to be read.)
    pub(super) fn no_result(&self, place: (&str, &str)) -> Answer {
        self.disbelieve(SessionLane::Query, place, &Refusal::NoResult)
    }

    fn disbelieve(
        &self,
        lane: SessionLane,
        (session, task_id): (&str, &str),
        refusal: &Refusal,
    ) -> Answer {
        self.refused.0.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            session.id = session, task.id = task_id, %refusal, "a result is not believed"
        );
        let error = format!(
            "the result that the broker has of this task is not believed: {refusal}; nobody knows \
             whether the task was run"
        );
        let result = TaskResult {
            task_id: task_id.to_owned(),
            session_id: session.to_owned(),
            lane,
            command_type: String::new(),
            success: false,
            result: json!({}),
            error: Some(error),
            error_kind: Some(ErrorKind::Unknown),
            attempt: 0,
            worker_id: HERE.to_owned(),
            started_at_ms: 0,
            duration_ms: 0,
        };
        Answer {
            result,
            answers: None,
            refused: true,
        }
    }
}
