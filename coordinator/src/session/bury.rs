//! Keeping a command that failed for good in this process among the dead letters.

use a3s_shared::protocol::{
    DeadLetter, Encoding, ErrorKind, TaskBody, TaskHeaders, TaskResult, clock,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::core::Core;
use super::job::{How, Job};

impl Core {
    /// Keeps a failed command, where the configuration wants it, and says so in its result.
    pub(super) async fn bury(&self, job: &Job, result: &mut TaskResult) {
        if !self.plan.bury || matches!(job.how, How::Callback(_)) {
            return;
        }
        match self.hub.broker.bury(&self.letter(job, result)).await {
            Ok(_) => result.error_kind = Some(ErrorKind::DeadLettered),
            Err(error) => tracing::warn!(
                task.id = job.task.task_id, session.id = self.id, %error,
                "a failed command could not be kept among the dead letters"
            ),
        }
    }

    fn letter(&self, job: &Job, result: &TaskResult) -> DeadLetter {
        let task = &job.task;
        let headers = TaskHeaders {
            retry: Some(job.options.retry),
            effect: Some(job.options.effect),
            content_type: Some(Encoding::Json.content_type().to_owned()),
            reply_to: Some(self.hub.broker.names().result(&self.id, &task.task_id)),
            ..TaskHeaders::default()
        };
        let subject = self
            .hub
            .broker
            .names()
            .task(&self.id, task.lane, &self.route);
        let body = Encoding::Json.encode(&TaskBody::from(task));
        let mut headers = headers.into_pairs();
        // A replay signs anew only what was signed.
        self.hub
            .broker
            .sign_task(task, &subject, &mut headers, &body);
        DeadLetter {
            task_id: task.task_id.clone(),
            session_id: task.session_id.clone(),
            lane: task.lane,
            command_type: task.command_type.clone(),
            error: result.error.clone().unwrap_or_default(),
            attempts: result.attempt,
            failed_at: clock::now_ms(),
            history: Vec::new(),
            payload: task.payload.clone(),
            subject,
            headers: headers
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: BASE64.encode(body),
        }
    }
}
