//! Who listens to which subject, as far as the broker's answers tell. Pure: the time is passed in.
//!
//! A listener to all sessions hears any of them, so what one session's question finds out about a
//! kind of event holds for all, and is kept fresh by whichever is told next. A listener to one
//! session alone is found by that session's own questions, which are the rarer the more sessions
//! there are: all of them together ask a bounded number of questions.

use std::time::{Duration, Instant};

use foldhash::HashMap;

use crate::protocol::EventKind;

/// How long a kind that nobody listened to is left alone. A listener to all sessions hears
/// everything from so long after it has begun; one to a single session too, while few are busy.
const DEAF_FOR: Duration = Duration::from_millis(20);

/// How much longer a single subject is left alone for each that is known.
const DEAF_FOR_EACH: Duration = Duration::from_millis(1);

/// How often a subject is asked again whether anybody still listens.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// A question without an answer for so long is asked again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A question without an answer for so long counts as heard, whatever was known before.
const HEARD_AFTER: Duration = Duration::from_millis(250);

/// Subjects that are remembered; beyond it all are asked anew.
const REMEMBERED: usize = 65_536;

/// What is known of who listens.
#[derive(Debug, Default)]
pub(super) struct Subjects {
    kinds: HashMap<EventKind, Kind>,
    /// How many subjects are remembered, of all kinds.
    remembered: usize,
    asked: HashMap<u64, (String, EventKind)>,
    last: u64,
}

/// What is known of one kind of event.
#[derive(Debug, Default)]
struct Kind {
    /// Whether anybody may listen to all sessions.
    all: Option<Known>,
    sessions: HashMap<String, Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listens {
    /// Not answered yet, or of a kind: somebody may.
    Perhaps,
    Yes,
    No,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    listens: Listens,
    /// When that was found out.
    since: Instant,
    /// When it was asked again, if the answer is under way.
    asked: Option<Instant>,
}

impl Known {
    fn new(listens: Listens, since: Instant) -> Self {
        Self {
            listens,
            since,
            asked: None,
        }
    }

    fn is_due(&self, after: Duration, now: Instant) -> bool {
        let unanswered = |asked| now.saturating_duration_since(asked) >= ANSWER_WITHIN;
        now.saturating_duration_since(self.since) >= after && self.asked.is_none_or(unanswered)
    }

    /// Whether nobody listens, and no answer is late that could say otherwise.
    fn is_deaf(&self, now: Instant) -> bool {
        let late = |asked| now.saturating_duration_since(asked) >= HEARD_AFTER;
        self.listens == Listens::No && !self.asked.is_some_and(late)
    }
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
    pub(super) fn way(&mut self, session: &str, kind: EventKind, now: Instant) -> Way {
        let others = u32::try_from(self.remembered).unwrap_or(u32::MAX);
        let of_kind = self.kinds.get(&kind);
        let found = of_kind.and_then(|of_kind| of_kind.sessions.get(session).zip(Some(of_kind)));
        let Some((known, of_kind)) = found else {
            return self.ask_new(session, kind, now);
        };
        if known.listens != Listens::No {
            return match known.is_due(ASK_EVERY, now) {
                true => self.ask(session, kind, now),
                false => Way::Tell,
            };
        }
        let all = of_kind.all.unwrap_or(Known::new(Listens::Perhaps, now));
        let anybody = all.listens != Listens::No || all.is_due(DEAF_FOR, now);
        let due = known.is_due(DEAF_FOR.max(DEAF_FOR_EACH * others), now);
        if due || (anybody && known.asked.is_none()) {
            return self.ask(session, kind, now);
        }
        match known.is_deaf(now) && all.is_deaf(now) {
            true => Way::Drop,
            false => Way::Tell,
        }
    }

    fn ask_new(&mut self, session: &str, kind: EventKind, now: Instant) -> Way {
        if self.remembered >= REMEMBERED {
            let kinds = self.kinds.values_mut();
            kinds.for_each(|of_kind| of_kind.sessions.clear());
            self.remembered = 0;
        }
        let known = Known::new(Listens::Perhaps, now);
        let sessions = &mut self.kinds.entry(kind).or_default().sessions;
        sessions.insert(session.to_owned(), known);
        self.remembered += 1;
        self.ask(session, kind, now)
    }

    fn ask(&mut self, session: &str, kind: EventKind, now: Instant) -> Way {
        if self.asked.len() >= REMEMBERED {
            self.asked.clear();
        }
        self.last += 1;
        self.asked.insert(self.last, (session.to_owned(), kind));
        if let Some(Kind { all, sessions }) = self.kinds.get_mut(&kind) {
            let own = sessions.get_mut(session);
            own.into_iter()
                .chain(all)
                .for_each(|known| known.asked = Some(now));
        }
        Way::Ask(self.last)
    }

    /// The question of this number is answered: nobody heard it, or somebody did.
    pub(super) fn answered(&mut self, number: u64, deaf: bool, now: Instant) {
        let Some((session, kind)) = self.asked.remove(&number) else {
            return;
        };
        let of_kind = self.kinds.entry(kind).or_default();
        let listens = if deaf { Listens::No } else { Listens::Yes };
        let mut before = None;
        if let Some(known) = of_kind.sessions.get_mut(&session) {
            before = Some(known.listens);
            *known = Known::new(listens, now);
        }
        // Who is known to listen to this one says nothing about the others.
        let all = match (deaf, before) {
            (true, _) => Listens::No,
            (false, Some(Listens::Yes)) => return,
            (false, _) => Listens::Perhaps,
        };
        of_kind.all = Some(Known::new(all, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: EventKind = EventKind::Started;

    /// Subjects at a time that goes on as the test says.
    struct Clocked {
        subjects: Subjects,
        start: Instant,
        ms: u64,
    }

    impl Clocked {
        fn new() -> Self {
            Self {
                subjects: Subjects::default(),
                start: Instant::now(),
                ms: 0,
            }
        }

        fn now(&self) -> Instant {
            self.start + Duration::from_millis(self.ms)
        }

        fn pass(&mut self, time: Duration) {
            self.ms += u64::try_from(time.as_millis()).expect("a short time");
        }

        fn way(&mut self, subject: &str) -> Way {
            self.subjects.way(subject, KIND, self.now())
        }

        fn answered(&mut self, number: u64, deaf: bool) {
            self.subjects.answered(number, deaf, self.now());
        }

        /// Tells an event while `listener` says which subjects somebody hears; whether it was told.
        fn tell(&mut self, subject: &str, listener: impl Fn(&str) -> bool) -> bool {
            match self.way(subject) {
                Way::Drop => false,
                Way::Tell => true,
                Way::Ask(number) => {
                    self.answered(number, !listener(subject));
                    true
                }
            }
        }
    }

    #[test]
    fn a_subject_that_nobody_hears_is_left_alone_and_asked_again() {
        let mut at = Clocked::new();
        assert_eq!(at.way("a"), Way::Ask(1));
        assert_eq!(at.way("a"), Way::Tell, "until the answer");
        at.answered(1, true);
        at.ms = 2;
        assert_eq!(at.way("a"), Way::Drop);
        assert_eq!(
            at.way("b"),
            Way::Ask(2),
            "it may have a listener of its own"
        );
        at.answered(2, true);
        at.ms = 22;
        assert_eq!(at.way("a"), Way::Ask(3));
        assert_eq!(at.way("a"), Way::Drop, "until the answer");
        assert_eq!(at.way("b"), Way::Ask(4));
        at.answered(3, false);
        at.ms = 31;
        assert_eq!(at.way("a"), Way::Tell);
    }

    #[test]
    fn a_subject_that_is_heard_is_told_everything() {
        let mut at = Clocked::new();
        assert_eq!(at.way("a"), Way::Ask(1));
        at.answered(1, false);
        at.pass(ASK_EVERY / 2);
        assert_eq!(at.way("a"), Way::Tell);
        at.pass(ASK_EVERY / 2);
        assert_eq!(at.way("a"), Way::Ask(2));
    }

    #[test]
    fn a_question_whose_answer_is_lost_is_asked_again() {
        let mut at = Clocked::new();
        assert_eq!(at.way("a"), Way::Ask(1));
        at.answered(1, true);
        at.pass(DEAF_FOR);
        assert_eq!(at.way("a"), Way::Ask(2));
        at.pass(HEARD_AFTER);
        assert_eq!(at.way("a"), Way::Tell, "to be sure");
        at.pass(ANSWER_WITHIN);
        assert_eq!(at.way("a"), Way::Ask(3));
    }

    #[test]
    fn thousands_of_sessions_that_nobody_hears_ask_no_more_than_a_few() {
        let mut at = Clocked::new();
        let names: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        for name in &names {
            at.tell(name, |_| false);
        }
        // Ten seconds, in which each session has ten events.
        let mut told = 0;
        for round in 0..100_000_usize {
            at.ms += u64::from(round % 10 == 0);
            told += usize::from(at.tell(&names[round % names.len()], |_| false));
        }
        assert!(told <= 12_000, "{told} of 100,000");
    }

    #[test]
    fn who_listens_to_all_sessions_misses_nothing_after_a_moment() {
        let mut at = Clocked::new();
        let names: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        for name in &names {
            at.tell(name, |_| false);
        }
        at.pass(DEAF_FOR);
        let missed = names.iter().filter(|name| !at.tell(name, |_| true)).count();
        assert_eq!(missed, 0);
    }

    #[test]
    fn who_listens_to_one_session_of_many_costs_the_others_nothing() {
        let mut at = Clocked::new();
        let names: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
        let one = |subject: &str| subject == "7";
        for name in &names {
            at.tell(name, one);
        }
        let mut told = 0;
        for _ in 0..100 {
            at.ms += 1;
            assert!(at.tell("7", one));
            told += names.iter().filter(|name| at.tell(name, one)).count();
        }
        // Its own, and one question for all each time that what is known is old.
        assert!(told <= 100 + 20, "{told}");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut at = Clocked::new();
        for n in 0..3 * REMEMBERED {
            at.way(&n.to_string());
        }
        let Subjects { kinds, asked, .. } = at.subjects;
        let known: usize = kinds.values().map(|kind| kind.sessions.len()).sum();
        assert!(known <= REMEMBERED && asked.len() <= REMEMBERED);
    }
}
