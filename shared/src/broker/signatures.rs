//! Signing what is published, where there is a key, and checking the signatures of tasks. Without a
//! key nothing here costs anything: no body is hashed.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::spawn_blocking;

use super::{BLOB_THRESHOLD, Broker, BrokerError, StoredTask};
use crate::protocol::signature::{
    BodyDigest, Refusal, Role, SignedResult, SignedTask, SigningKey, TrustList, check_task,
};
use crate::protocol::{DeadLetter, Encoding, ExternalTask, TaskBody, TaskResult, headers};

/// The key of a process, and whose results it believes. Default: it signs nothing and believes all.
#[derive(Debug, Clone, Default)]
pub struct Signatures {
    /// Signs tasks and results.
    pub key: Option<Arc<SigningKey>>,
    /// Whose results count. A process that has it has a key too: it answers for workers itself.
    pub trust: Option<Arc<TrustList>>,
}

/// The two headers of a signature, in the order of [`headers`].
pub(super) type Pair = [(&'static str, String); 2];

/// What of a task is signed and is not in its message's subject and headers.
#[derive(Debug, Clone)]
pub(super) struct Unsigned {
    pub(super) task_id: String,
    pub(super) command_type: String,
}

/// Digests large bodies elsewhere: the thread that talks to the broker also renews leases.
pub(super) async fn digest(body: &Bytes) -> BodyDigest {
    if body.len() <= BLOB_THRESHOLD {
        return BodyDigest::of(body);
    }
    let shared = body.clone();
    match spawn_blocking(move || BodyDigest::of(&shared)).await {
        Ok(digest) => digest,
        // The runtime is going away; what is signed is not sent any more.
        Err(_) => BodyDigest::of(body),
    }
}

impl Broker {
    /// Signs what it publishes, and checks the results that it reads.
    #[must_use]
    pub fn with_signatures(self, signatures: Signatures) -> Self {
        Self { signatures, ..self }
    }

    /// The key of this process, and whose results it believes.
    #[must_use]
    pub fn signatures(&self) -> &Signatures {
        &self.signatures
    }

    /// Signs a task's message, if there is a key.
    pub(super) async fn signature_of_task(
        &self,
        subject: &str,
        written: &[(&'static str, String)],
        body: &Bytes,
        task: &Unsigned,
    ) -> Option<Pair> {
        let key = self.signatures.key.as_ref()?;
        let digest = digest(body).await;
        self.task_pair(key, subject, written, digest, task)
    }

    /// Adds the signature to the headers of a task that is written without being published, as in a
    /// dead letter, if there is a key.
    pub fn sign_task(
        &self,
        task: &ExternalTask,
        subject: &str,
        written: &mut Vec<(&'static str, String)>,
        body: &[u8],
    ) {
        let task = Unsigned {
            task_id: task.task_id.clone(),
            command_type: task.command_type.clone(),
        };
        if let Some(key) = &self.signatures.key {
            let pair = self.task_pair(key, subject, written, BodyDigest::of(body), &task);
            written.extend(pair.into_iter().flatten());
        }
    }

    fn task_pair(
        &self,
        key: &SigningKey,
        subject: &str,
        written: &[(&'static str, String)],
        body: BodyDigest,
        task: &Unsigned,
    ) -> Option<Pair> {
        let address = self.names().parse_task(subject)?;
        let (id, command) = (&task.task_id, &task.command_type);
        let form = SignedTask::new(subject, &address.session, id, address.lane, command, body);
        let get = |name: &str| {
            let found = written.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| value.as_str())
        };
        let form = SignedTask::with_headers(get, form);
        Some(pair(key, &form.canonical()))
    }

    /// Signs a result's message, if there is a key. `body` is the digest of a body that is in the
    /// object store, `answers` the signature of the task.
    pub(super) fn signature_of_result(
        &self,
        result: &TaskResult,
        subject: &str,
        content_type: &str,
        answers: Option<&str>,
        body: impl FnOnce() -> BodyDigest,
    ) -> Option<Pair> {
        let key = self.signatures.key.as_ref()?;
        let form = SignedResult {
            subject,
            session_id: &result.session_id,
            task_id: &result.task_id,
            worker_id: &result.worker_id,
            answers: answers.unwrap_or_default(),
            content_type,
            body: body(),
        };
        Some(pair(key, &form.canonical()))
    }

    /// Signs the replay of a dead letter, whose headers and body these are.
    ///
    /// # Errors
    /// `NotAllowed` when the letter's task was not signed; when it cannot be read.
    pub(super) async fn sign_again(
        &self,
        letter: &DeadLetter,
        headers: &mut Vec<(&'static str, String)>,
        body: &[u8],
    ) -> Result<(), BrokerError> {
        let what = format!("replay task {}", letter.task_id);
        let whole = match letter.header(headers::BLOB) {
            Some(name) => self.get_blob(name).await?,
            None => Bytes::copy_from_slice(body),
        };
        let read = Encoding::of(letter.header(headers::CONTENT_TYPE), &whole);
        let read = read.decode::<TaskBody>(&whole);
        let command_type = read
            .map_err(|e| BrokerError::unreadable(&what, e))?
            .command_type;
        let checked = self.check_letter(letter, &command_type, &whole);
        checked.map_err(|refusal| {
            let advice = "so it is not signed anew; submit the task again if you mean it";
            BrokerError::not_allowed(&what, format!("{refusal}, {advice}"))
        })?;
        let task = Unsigned {
            task_id: letter.task_id.clone(),
            command_type,
        };
        let pair = self.signature_of_task(&letter.subject, headers, &whole, &task);
        headers.extend(pair.await.into_iter().flatten());
        Ok(())
    }

    /// Whether a dead letter's task may be signed anew: it was signed by this process's key, or by
    /// one that is trusted with it. Else whoever can write dead letters could have anything signed.
    pub(super) fn check_letter(
        &self,
        letter: &DeadLetter,
        command_type: &str,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let Some(own) = self.signatures.key.as_ref() else {
            return Ok(());
        };
        let DeadLetter {
            subject,
            session_id,
            task_id,
            lane,
            ..
        } = letter;
        let get = |name: &str| letter.header(name);
        let digest = BodyDigest::of(body);
        let form = SignedTask::new(subject, session_id, task_id, *lane, command_type, digest);
        let form = SignedTask::with_headers(get, form);
        let (key, signature) = (get(headers::KEY), get(headers::SIGNATURE));
        let is_own = key == Some(own.id());
        match &self.signatures.trust {
            Some(trust) if !is_own => check_task(trust, &form, key, signature),
            _ => {
                let (Some(key), Some(signature)) = (key, signature) else {
                    return Err(Refusal::Unsigned);
                };
                let fits = || form.is_signed_by(key, signature);
                match is_own {
                    true if fits() => Ok(()),
                    true => Err(Refusal::Altered(key.to_owned())),
                    false => Err(Refusal::UnknownKey(key.to_owned(), Role::Coordinator)),
                }
            }
        }
    }
}

impl StoredTask {
    /// The signature in its message, which a result of it names.
    #[must_use]
    pub fn signature(&self) -> Option<&str> {
        self.header(headers::SIGNATURE)
    }

    /// Checks its signature, before anybody touches its payload. `task` is what was read of it.
    ///
    /// # Errors
    /// [`Refusal`]: it is not to be run, and why.
    pub fn check(&self, list: &TrustList, task: &ExternalTask) -> Result<(), Refusal> {
        let digest = match self.headers.blob.as_deref().and_then(BodyDigest::of_blob) {
            // Compared with the body when that was read.
            Some(digest) => digest,
            None => BodyDigest::of(&self.body),
        };
        let (subject, session) = (&self.subject, &self.address.session);
        let lane = self.address.lane;
        let (id, command) = (&task.task_id, &task.command_type);
        let form = SignedTask::new(subject, session, id, lane, command, digest);
        let form = SignedTask::with_headers(|name| self.header(name), form);
        check_task(list, &form, self.header(headers::KEY), self.signature())
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.raw_headers.get(name);
        found.map(async_nats::HeaderValue::as_str)
    }
}

fn pair(key: &SigningKey, bytes: &[u8]) -> Pair {
    [
        (headers::KEY, key.id().to_owned()),
        (headers::SIGNATURE, key.sign(bytes)),
    ]
}
