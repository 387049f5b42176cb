//! Replaying dead letters: what the caller may expect, and what an interruption leaves.

use a3s_shared::broker::{Replayed, Replays, StoredMessage};
use a3s_shared::protocol::{DeadLetter, Encoding, ErrorKind, TaskResult, clock};

use crate::results::letter;
use crate::{Rig, result};

/// The result that a task has when it was given up.
fn given_up(id: &str) -> TaskResult {
    TaskResult {
        success: false,
        error_kind: Some(ErrorKind::DeadLettered),
        ..result(id, "w")
    }
}

fn letter_of_now() -> DeadLetter {
    DeadLetter {
        failed_at: clock::now_ms(),
        ..letter("t")
    }
}

impl Rig {
    async fn store(&self, result: &TaskResult) {
        let stored = self.broker.publish_result(result, Encoding::Json).await;
        stored.expect("stored");
    }

    /// Gives the task up, and replays it; the letter is there as it is when nothing was done yet.
    async fn replay(&self, letter: &DeadLetter) -> Replayed {
        self.broker.bury(letter).await.expect("kept");
        let replayed = Replays::new(&self.broker).replay(letter).await;
        let left = self.broker.dead_letters(None).await.expect("letters");
        assert_eq!(left, [], "the letter is removed");
        replayed.expect("replayed")
    }

    async fn queued(&self) -> StoredMessage {
        let found = self.broker.next("A3S_TASKS", "a3s.s.query", 1).await;
        found.expect("an answer").expect("a task")
    }
}

#[tokio::test]
async fn a_replayed_task_is_new_to_the_broker_and_may_have_a_result_again() {
    let rig = Rig::start().await;
    rig.store(&given_up("t")).await;
    assert_eq!(rig.replay(&letter("t")).await, Replayed::Now);
    assert!(!rig.broker.has_result("s", "t").await.expect("an answer"));
    let message = rig.queued().await;
    assert_eq!(message.header("Nats-Msg-Id"), Some("s.t.r1"));
    assert_eq!(message.header("A3s-Effect"), Some("idempotent"));
    let deadline = message.header("A3s-Deadline").and_then(|d| d.parse().ok());
    assert!(deadline > Some(message.stored_at_ms), "it has time again");
}

#[tokio::test]
async fn a_task_that_had_its_id_from_its_sequence_keeps_it() {
    let rig = Rig::start().await;
    assert_eq!(rig.replay(&letter("t17")).await, Replayed::Now);
    let message = rig.queued().await;
    assert_eq!(message.header("A3s-Reply-To"), Some("a3s.s.result.t17"));
}

#[tokio::test]
async fn an_interrupted_replay_that_is_asked_for_again_publishes_nothing_twice() {
    let rig = Rig::start().await;
    let letter = letter_of_now();
    rig.store(&given_up("t")).await;
    assert_eq!(rig.replay(&letter).await, Replayed::Now);

    // Interrupted: the task waits, and the letter is there still.
    assert_eq!(rig.replay(&letter).await, Replayed::Before);
    assert_eq!(rig.count("A3S_TASKS").await, 1);

    // The task is done.
    let queued = rig.queued().await;
    rig.store(&result("t", "w")).await;
    let removed = rig.broker.remove("A3S_TASKS", queued.sequence).await;
    assert!(removed.expect("removed"));
    assert_eq!(rig.replay(&letter).await, Replayed::Before);
    assert_eq!(rig.count("A3S_TASKS").await, 0);
    let kept = rig.broker.result("s", "t").await.expect("an answer");
    assert_eq!(kept.map(|r| r.success), Some(true), "its result stays");
}

#[tokio::test]
async fn a_task_that_is_given_up_again_can_be_replayed_again() {
    let rig = Rig::start().await;
    for failed_at in [1, 2] {
        let letter = DeadLetter {
            failed_at,
            ..letter("t")
        };
        rig.store(&given_up("t")).await;
        assert_eq!(rig.replay(&letter).await, Replayed::Now);
        let queued = rig.queued().await;
        let removed = rig.broker.remove("A3S_TASKS", queued.sequence).await;
        assert!(removed.expect("removed"));
    }
}

#[tokio::test]
async fn a_letter_whose_replay_the_broker_took_for_a_copy_is_kept() {
    let rig = Rig::start().await;
    let letter = letter_of_now();
    rig.replay(&letter).await;
    let queued = rig.queued().await;
    let removed = rig.broker.remove("A3S_TASKS", queued.sequence).await;
    assert!(removed.expect("removed"));
    // Given up once more, and the first letter is there still: an id is stored once a minute.
    rig.broker.bury(&letter).await.expect("kept");
    rig.store(&given_up("t")).await;
    let refused = Replays::new(&rig.broker).replay(&letter).await;
    let refused = refused.expect_err("nothing was published").to_string();
    assert!(refused.contains("less than a minute ago"), "{refused}");
    let left = rig.broker.dead_letters(None).await.expect("letters");
    assert_eq!(left, [letter]);
}
