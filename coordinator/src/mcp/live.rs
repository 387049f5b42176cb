//! What a client hears of a call while it runs: progress notifications, for clients that asked for
//! them. The first one has the task's id, by which the call can be fetched later.

use std::convert::Infallible;
use std::time::Duration;

use async_nats::Subscriber;
use futures::StreamExt as _;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext, RoleServer};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::door::Door;

/// The most that is told of what was printed since the last notification, in bytes: its end.
const MAX_MESSAGE: usize = 2 * 1024;

/// The least time between two notifications.
const EVERY: Duration = Duration::from_millis(200);

/// How long nothing may be told of a call that runs: clients give up on a server that is silent.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// What a task prints, as it prints it.
#[derive(Debug)]
pub(super) struct Output(Subscriber);

impl Output {
    /// Listens to a task. `None` when the broker does not let us: the result has it all.
    pub(super) async fn of(door: &Door, task_id: &str) -> Option<Self> {
        let broker = door.broker();
        let subject = broker.names().output(door.session.id(), task_id);
        let subscribed = broker.client().subscribe(subject).await.ok()?;
        broker.client().flush().await.ok()?;
        Some(Self(subscribed))
    }
}

/// Tells one client of one request's progress.
#[derive(Debug)]
pub(super) struct Teller {
    peer: Peer<RoleServer>,
    token: ProgressToken,
    told: f64,
    began: Instant,
}

impl Teller {
    /// For a request whose client wants to hear of its progress.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Option<Self> {
        Some(Self {
            peer: context.peer.clone(),
            token: context.meta.get_progress_token()?,
            told: 0.0,
            began: Instant::now(),
        })
    }

    /// Tells one thing. A client that is gone hears nothing, and that is no failure.
    pub(super) async fn tell(&mut self, message: String) {
        self.told += 1.0;
        let progress = ProgressNotificationParam::new(self.token.clone(), self.told);
        let _ = self
            .peer
            .notify_progress(progress.with_message(message))
            .await;
    }

    /// Tells how many of a batch have ended.
    pub(super) async fn tell_count(&mut self, ended: usize, all: usize) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a batch has at most a hundred calls"
        )]
        let (ended_f, all_f) = (ended as f64, all as f64);
        let progress = ProgressNotificationParam::new(self.token.clone(), ended_f);
        let message = format!("{ended} of {all} calls have ended");
        let progress = progress.with_total(all_f).with_message(message);
        let _ = self.peer.notify_progress(progress).await;
    }

    /// Tells what a task prints, for ever; and that it runs, when it prints nothing.
    pub(super) async fn tell_output(
        &mut self,
        Output(mut chunks): Output,
        task_id: &str,
    ) -> Infallible {
        self.tell(format!("task {task_id} is on its way")).await;
        let mut printed = Vec::new();
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut silent_until = Instant::now() + SIGN_OF_LIFE;
        loop {
            tokio::select! {
                Some(chunk) = chunks.next() => keep_end(&mut printed, &chunk.payload),
                _ = ticks.tick(), if !printed.is_empty() => {
                    let text = String::from_utf8_lossy(&printed).into_owned();
                    printed.clear();
                    self.tell(text).await;
                    silent_until = Instant::now() + SIGN_OF_LIFE;
                }
                () = sleep_until(silent_until) => {
                    let seconds = self.began.elapsed().as_secs();
                    self.tell(format!("task {task_id} has no result after {seconds} s")).await;
                    silent_until = Instant::now() + SIGN_OF_LIFE;
                }
            }
        }
    }
}

/// Adds what was printed, and keeps the end of it.
fn keep_end(printed: &mut Vec<u8>, more: &[u8]) {
    printed.extend_from_slice(more);
    let surplus = printed.len().saturating_sub(MAX_MESSAGE);
    printed.drain(..surplus);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_what_was_printed_is_kept() {
        let mut printed = Vec::new();
        keep_end(&mut printed, &[b'a'; MAX_MESSAGE]);
        keep_end(&mut printed, b"end");
        assert_eq!(printed.len(), MAX_MESSAGE);
        assert!(printed.ends_with(b"aend"));
    }
}
