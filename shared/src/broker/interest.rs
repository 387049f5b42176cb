//! Who listens to which subject, as far as the broker's answers tell. Pure: the time is passed in.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a subject that nobody listened to is left alone. A listener hears everything from so
/// long after it has begun.
const DEAF_FOR: Duration = Duration::from_millis(20);

/// How often a subject is asked again whether anybody still listens.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A question without an answer for so long is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A question without an answer for so long counts as heard, whatever was known before.
const HEARD_AFTER: Duration = Duration::from_millis(250);

/// Subjects that are remembered; beyond it all are asked anew.
const REMEMBERED: usize = 4_096;

/// What is known of who listens.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    known: HashMap<String, Known>,
    asked: HashMap<u64, String>,
    last: u64,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    deaf: bool,
    /// When that was found out.
    since: Instant,
    /// When it was asked again, if the answer is under way.
    asked: Option<Instant>,
}

/// What to do with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Drop,
    Tell,
    /// Tell it as the question of this number.
    Ask(u64),
}

impl Subjects {
    pub(super) fn way(&mut self, subject: &str, now: Instant) -> Way {
        let Some(known) = self.known.get_mut(subject) else {
            return self.ask_new(subject, now);
        };
        let fresh = if known.deaf { DEAF_FOR } else { ASK_EVERY };
        let old = now.saturating_duration_since(known.since) >= fresh;
        let silence = known
            .asked
            .map(|asked| now.saturating_duration_since(asked));
        if old && silence.is_none_or(|silence| silence >= ANSWER_WITHIN) {
            known.asked = Some(now);
            return self.ask(subject);
        }
        let heard = !known.deaf || silence.is_some_and(|silence| silence >= HEARD_AFTER);
        if heard { Way::Tell } else { Way::Drop }
    }

    fn ask_new(&mut self, subject: &str, now: Instant) -> Way {
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let known = Known {
            deaf: false,
            since: now,
            asked: Some(now),
        };
        self.known.insert(subject.to_owned(), known);
        self.ask(subject)
    }

    fn ask(&mut self, subject: &str) -> Way {
        if self.asked.len() >= REMEMBERED {
            self.asked.clear();
        }
        self.last += 1;
        self.asked.insert(self.last, subject.to_owned());
        Way::Ask(self.last)
    }

    /// The question of this number is answered: nobody heard it, or somebody did.
    pub(super) fn answered(&mut self, number: u64, deaf: bool, now: Instant) {
        let subject = self.asked.remove(&number);
        if let Some(known) = subject.and_then(|subject| self.known.get_mut(&subject)) {
            *known = Known {
                deaf,
                since: now,
                asked: None,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_that_nobody_hears_is_left_alone_and_asked_again() {
        let (mut subjects, start) = (Subjects::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(subjects.way("a", at(0)), Way::Ask(1));
        assert_eq!(subjects.way("a", at(0)), Way::Tell, "until the answer");
        subjects.answered(1, true, at(1));
        assert_eq!(subjects.way("a", at(2)), Way::Drop);
        assert_eq!(subjects.way("b", at(2)), Way::Ask(2), "each for itself");
        assert_eq!(subjects.way("a", at(21)), Way::Ask(3));
        assert_eq!(subjects.way("a", at(22)), Way::Drop, "until the answer");
        subjects.answered(3, false, at(30));
        assert_eq!(subjects.way("a", at(31)), Way::Tell);
    }

    #[test]
    fn a_subject_that_is_heard_is_told_everything() {
        let (mut subjects, start) = (Subjects::default(), Instant::now());
        assert_eq!(subjects.way("a", start), Way::Ask(1));
        subjects.answered(1, false, start);
        assert_eq!(subjects.way("a", start + ASK_EVERY / 2), Way::Tell);
        assert_eq!(subjects.way("a", start + ASK_EVERY), Way::Ask(2));
    }

    #[test]
    fn a_question_whose_answer_is_lost_is_asked_again() {
        let (mut subjects, start) = (Subjects::default(), Instant::now());
        assert_eq!(subjects.way("a", start), Way::Ask(1));
        subjects.answered(1, true, start);
        assert_eq!(subjects.way("a", start + DEAF_FOR), Way::Ask(2));
        let asked = start + DEAF_FOR;
        assert_eq!(
            subjects.way("a", asked + HEARD_AFTER),
            Way::Tell,
            "to be sure"
        );
        assert_eq!(subjects.way("a", asked + ANSWER_WITHIN), Way::Ask(3));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut subjects, now) = (Subjects::default(), Instant::now());
        for n in 0..3 * REMEMBERED {
            subjects.way(&n.to_string(), now);
        }
        assert!(subjects.known.len() <= REMEMBERED && subjects.asked.len() <= REMEMBERED);
    }
}
