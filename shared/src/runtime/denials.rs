//! What the broker did not let us do, and who is told.
//!
//! A denied publish has no answer: the server reports an error on the connection and drops the
//! message, so whoever waits for a reply would wait in vain. Who waits listens here; what nobody
//! waits for is logged, once for each kind of subject.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::ServerError;
use parking_lot::Mutex;
use tokio::sync::mpsc;

/// Kinds of subjects that are remembered as said; beyond it the oldest are said again.
const REMEMBERED: usize = 256;

/// How long after somebody gave up waiting the denial of what they asked may still come.
const MAY_COME_WITHIN: Duration = Duration::from_secs(5);

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// A message was published, a request too.
    Publish,
    /// A subscription was made. What comes on the subject never arrives.
    Subscribe,
}

/// Something that the broker did not permit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denied {
    /// What was tried.
    pub act: Act,
    /// Where.
    pub subject: String,
}

impl Denied {
    /// Reads what the server says of it; `None` when it speaks of something else.
    #[must_use]
    pub fn read(error: &ServerError) -> Option<Self> {
        let ServerError::Other(text) = error else {
            return None;
        };
        let (what, rest) = text.split_once('"')?;
        let (subject, _) = rest.split_once('"')?;
        let what = what.to_ascii_lowercase();
        let act = match what.trim_end() {
            "permissions violation for publish to" => Act::Publish,
            "permissions violation for subscription to" => Act::Subscribe,
            _ => return None,
        };
        let subject = subject.to_owned();
        Some(Self { act, subject })
    }

    /// What the log tells apart: ids, from the fourth token on, make no difference.
    fn kind(&self) -> String {
        let tokens: Vec<&str> = self.subject.split('.').take(3).collect();
        format!("{:?} {}", self.act, tokens.join("."))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let act = match self.act {
            Act::Publish => "publish to",
            Act::Subscribe => "subscribe to",
        };
        write!(f, "{act} {}", self.subject)?;
        if self.act == Act::Subscribe && self.subject.starts_with("_INBOX") {
            write!(f, " (--inbox-prefix names the inbox that a key may use)")?;
        }
        Ok(())
    }
}

type Listener = Box<dyn Fn(&Denied) -> bool + Send + Sync>;

/// The denials of one connection. Clones share it.
#[derive(Clone, Default)]
pub struct Denials(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    next: u64,
    /// Each says whether it waited for this.
    listeners: Vec<(u64, Arc<Listener>)>,
    /// Those that were given up before they heard: what they asked may be denied yet.
    given_up: Vec<(Instant, Arc<Listener>)>,
    said: HashSet<String>,
}

impl fmt::Debug for Denials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Denials").finish_non_exhaustive()
    }
}

/// An interest in denials. When this is dropped, nobody is told any more; what comes within five
/// seconds all the same is not logged, unless the question was [settled](Self::settle).
#[derive(Debug)]
pub struct Listening {
    denials: Denials,
    number: u64,
    settled: bool,
}

impl Listening {
    /// Ends it: what was asked has its answer.
    pub fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut inner = self.denials.0.lock();
        let found = inner.listeners.iter().position(|(n, _)| *n == self.number);
        let Some((_, listener)) = found.map(|at| inner.listeners.swap_remove(at)) else {
            return;
        };
        if !self.settled {
            inner
                .given_up
                .retain(|(at, _)| at.elapsed() < MAY_COME_WITHIN);
            inner.given_up.push((Instant::now(), listener));
        }
    }
}

/// A denial that is waited for.
#[derive(Debug)]
pub struct Awaited {
    listening: Listening,
    denied: mpsc::Receiver<Denied>,
}

impl Awaited {
    /// It, when it comes.
    pub async fn come(&mut self) -> Denied {
        match self.denied.recv().await {
            Some(denied) => denied,
            None => std::future::pending().await,
        }
    }

    /// It will not come: what was asked has its answer.
    pub fn settle(self) {
        self.listening.settle();
    }
}

impl Denials {
    /// Calls `takes` with each denial, on the connection's own task: it must not block. `true`
    /// means that somebody waited for it and says so; then it is not logged.
    #[must_use = "dropping it ends the interest"]
    pub fn listen(&self, takes: impl Fn(&Denied) -> bool + Send + Sync + 'static) -> Listening {
        let mut inner = self.0.lock();
        inner.next += 1;
        let number = inner.next;
        inner.listeners.push((number, Arc::new(Box::new(takes))));
        let denials = self.clone();
        Listening {
            denials,
            number,
            settled: false,
        }
    }

    /// A denial that `concerns` us, from now on.
    #[must_use]
    pub fn awaited(&self, concerns: impl Fn(&Denied) -> bool + Send + Sync + 'static) -> Awaited {
        // One is enough; what comes after it is taken, too.
        let (sender, denied) = mpsc::channel(1);
        let listening = self.listen(move |denied| {
            let ours = concerns(denied);
            if ours {
                let _ = sender.try_send(denied.clone());
            }
            ours
        });
        Awaited { listening, denied }
    }

    /// Tells whoever waits. `true` when nobody did, and nobody was told of its kind before.
    pub(super) fn tell(&self, denied: &Denied) -> bool {
        // Not called under the lock: a listener may end another interest.
        let listeners: Vec<Arc<Listener>> = {
            let inner = self.0.lock();
            let given_up = inner.given_up.iter();
            let given_up = given_up.filter(|(at, _)| at.elapsed() < MAY_COME_WITHIN);
            let listeners = inner.listeners.iter().map(|(_, listener)| listener);
            let all = listeners.chain(given_up.map(|(_, listener)| listener));
            all.map(Arc::clone).collect()
        };
        let mut taken = false;
        for listener in listeners {
            taken |= listener(denied);
        }
        if taken {
            return false;
        }
        let mut inner = self.0.lock();
        if inner.said.len() >= REMEMBERED {
            inner.said.clear();
        }
        inner.said.insert(denied.kind())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(subject: &str) -> Denied {
        let text = format!("Permissions Violation for Publish to \"{subject}\"");
        Denied::read(&ServerError::Other(text)).expect("a denial")
    }

    #[test]
    fn what_the_server_says_is_read_and_other_errors_are_not() {
        assert_eq!(denied("a.B").subject, "a.B");
        let text = "Permissions Violation for Subscription to \"x.>\" using queue \"q\"";
        let read = Denied::read(&ServerError::Other(text.to_owned())).expect("a denial");
        assert_eq!(read.to_string(), "subscribe to x.>");
        let other = ServerError::Other("Unknown Protocol Operation".to_owned());
        assert_eq!(Denied::read(&other), None);
        assert_eq!(Denied::read(&ServerError::AuthorizationViolation), None);
    }

    #[test]
    fn a_denial_that_somebody_waited_for_is_not_logged_and_others_are_once() {
        let denials = Denials::default();
        let listening = denials.listen(|denied| denied.subject == "mine");
        assert!(!denials.tell(&denied("mine")), "its waiter says so");
        assert!(
            denials.tell(&denied("a3s.s.result.t1")),
            "the first of its kind"
        );
        assert!(!denials.tell(&denied("a3s.s.result.t2")), "the second");
        listening.settle();
        assert!(denials.tell(&denied("mine")), "nobody waits any more");
    }

    #[test]
    fn a_denial_that_comes_after_its_waiter_gave_up_is_not_logged() {
        let denials = Denials::default();
        drop(denials.awaited(|denied| denied.subject == "mine"));
        assert!(!denials.tell(&denied("mine")));
        assert!(denials.tell(&denied("yours")));
    }
}
