//! Somebody with one role's key who tries everything else. What is denied is seen from the
//! broker's own word, not from a missing answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use a3s_shared::runtime::Connection;
use a3s_shared::runtime::denials::Act;
use tokio::time::timeout;

use crate::BOUND;

/// A subject that no role may publish to.
const NOBODY_MAY: &str = "nobody.may";

/// A connection that tries what it should not.
pub(crate) struct Intruder(pub(crate) Connection);

impl Intruder {
    /// Whether the broker lets a request of this subject pass.
    ///
    /// # Panics
    /// When it neither answers nor denies it.
    pub(crate) async fn may_ask(&self, subject: &str, body: &str) -> bool {
        let wanted = subject.to_owned();
        let denials = self.0.denials();
        let mut denied =
            denials.awaited(move |denied| denied.act == Act::Publish && denied.subject == wanted);
        let body = body.to_owned().into();
        let asked = async {
            tokio::select! {
                biased;
                _ = denied.come() => false,
                answer = self.0.client.request(subject.to_owned(), body) => {
                    // Nobody to answer is an answer too: the message was let through.
                    if let Err(error) = answer {
                        let error = error.to_string();
                        assert!(error.contains("no responders"), "{subject}: {error}");
                    }
                    true
                }
            }
        };
        let asked = timeout(BOUND, asked).await;
        asked.unwrap_or_else(|_| panic!("{subject}: neither an answer nor a denial"))
    }

    /// Whether the broker lets it listen to this subject.
    pub(crate) async fn may_hear(&self, subject: &str) -> bool {
        let (wanted, seen) = (subject.to_owned(), Arc::new(AtomicBool::new(false)));
        let flag = Arc::clone(&seen);
        let denials = self.0.denials();
        let _listening = denials.listen(move |denied| {
            let ours = denied.act == Act::Subscribe && denied.subject == wanted;
            flag.fetch_or(ours, Ordering::Relaxed);
            ours
        });
        let subscribed = self.0.client.subscribe(subject.to_owned()).await;
        let _subscribed = subscribed.expect("the connection is open");
        // Denials come in order: when this one is heard, the other would have been.
        assert!(
            !self.may_ask(NOBODY_MAY, "").await,
            "nobody may publish to {NOBODY_MAY}"
        );
        !seen.load(Ordering::Relaxed)
    }

    /// Fails for each subject of `subjects` that it may publish to.
    pub(crate) async fn asks_in_vain(&self, subjects: &[&str]) {
        for subject in subjects {
            assert!(
                !self.may_ask(subject, "{}").await,
                "may publish to {subject}"
            );
        }
    }

    /// Fails for each subject of `subjects` that it may listen to.
    pub(crate) async fn listens_in_vain(&self, subjects: &[&str]) {
        for subject in subjects {
            assert!(!self.may_hear(subject).await, "may subscribe to {subject}");
        }
    }
}
