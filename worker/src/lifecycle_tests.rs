//! The laws of a task's life, over random orders of everything that can happen to it: deliveries
//! beside each other, crashes between any two steps, hand-backs, cancels, the deadline.
//!
//! The broker is a few fields (what it promises is: the first result stays, a record is written
//! over a known revision only, and what is not acknowledged may be delivered again at any time).
//! What is decided is decided by the worker's own `judge` and `conclude`. A worker that has lost its
//! lease goes on here, at any pace: the laws must not rest on clocks.

use a3s_shared::protocol::{
    AttemptNote, CancelMarker, Claim, Effect, Encoding, ExternalTask, RetryPolicy, SessionLane,
    TaskRecord, clock,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::answers;
use crate::context::StopReason;
use crate::judge::{Job, Settlement, attempt_of, conclude, judge};
use crate::tool::{ToolResult, Verdict};

/// One thing that happens. The number chooses which of the deliveries under way it happens to.
#[derive(Debug, Clone)]
enum Happens {
    /// The broker delivers the task, again or for the first time.
    Delivery,
    /// A worker does its next step; a tool that ends by it has this verdict.
    Step(usize, Ends),
    /// A worker is gone.
    Crash(usize),
    /// A worker drains: what it has not started, or has to stop, it gives back.
    Drain(usize),
    /// Somebody cancels the task.
    Cancel,
    /// The deadline passes.
    Deadline,
}

/// How a tool ends.
#[derive(Debug, Clone, Copy)]
enum Ends {
    Well,
    Badly,
    WithRetry,
    WithReject,
}

/// Where a delivery is on its way through a worker.
enum Stage {
    /// It was looked up: the record and the marker are those of that moment.
    Examined(Option<CancelMarker>),
    /// Its tool is about to begin.
    Claimed,
    /// Its tool runs.
    Running,
    /// It is being settled; the steps that are done.
    Settling(Settlement, u32),
}

struct Delivery {
    number: u64,
    job: Job,
    stage: Stage,
}

/// The broker and the deliveries under way.
struct World {
    effect: Effect,
    retry: RetryPolicy,
    deadline_ms: u64,
    stored: bool,
    delivered: u64,
    record: TaskRecord,
    revision: u64,
    marker: Option<CancelMarker>,
    result: Option<ToolResult>,
    letters: u32,
    starts: u32,
    under_way: Vec<Delivery>,
}

impl World {
    fn new(effect: Effect, max_retries: u32) -> Self {
        Self {
            effect,
            retry: RetryPolicy {
                max_retries,
                ..RetryPolicy::default()
            },
            deadline_ms: clock::now_ms() + 3_600_000,
            stored: true,
            delivered: 0,
            record: TaskRecord::default(),
            revision: 0,
            marker: None,
            result: None,
            letters: 0,
            starts: 0,
            under_way: Vec::new(),
        }
    }

    fn happens(&mut self, what: &Happens) {
        match what {
            Happens::Delivery => self.deliver(),
            Happens::Cancel => self.marker = Some(CancelMarker::default()),
            Happens::Deadline => self.deadline_ms = 1,
            Happens::Step(which, ends) => {
                if let Some(delivery) = self.take(*which) {
                    self.step(delivery, *ends);
                }
            }
            Happens::Crash(which) => drop(self.take(*which)),
            Happens::Drain(which) => {
                if let Some(delivery) = self.take(*which) {
                    self.drain(delivery);
                }
            }
        }
    }

    fn take(&mut self, which: usize) -> Option<Delivery> {
        let count = self.under_way.len();
        (count > 0).then(|| self.under_way.swap_remove(which % count))
    }

    fn deliver(&mut self) {
        if !self.stored {
            return;
        }
        self.delivered += 1;
        let mut job = Job {
            task: ExternalTask {
                task_id: "t".to_owned(),
                session_id: "s".to_owned(),
                lane: SessionLane::Query,
                command_type: "x".to_owned(),
                payload: Value::Null,
                timeout_ms: 1_000,
                deadline_ms: self.deadline_ms,
            },
            encoding: Encoding::Json,
            effect: self.effect,
            retry: self.retry,
            record: TaskRecord::default(),
            revision: 0,
            attempt: 0,
            started_at_ms: 0,
        };
        let mut stage = Stage::Examined(self.marker.clone());
        if self.delivered > 1 {
            // The first delivery costs no lookup.
            if self.result.is_some() {
                stage = Stage::Settling(Settlement::Acknowledge, 0);
            }
            (job.record, job.revision) = (self.record.clone(), self.revision);
        }
        let number = self.delivered;
        self.under_way.push(Delivery { number, job, stage });
    }

    /// Writes the record, if nobody else has since it was read.
    fn write(&mut self, job: &mut Job, record: TaskRecord) -> bool {
        let ours = job.revision == self.revision;
        if ours {
            self.revision += 1;
            (job.record, job.revision) = (record.clone(), self.revision);
            self.record = record;
        }
        ours
    }

    fn step(&mut self, mut delivery: Delivery, ends: Ends) {
        let job = &mut delivery.job;
        let next = match delivery.stage {
            Stage::Examined(marker) => match judge(job, delivery.number, marker.as_ref()) {
                Some(settlement) => Stage::Settling(settlement, 0),
                None => {
                    job.attempt = attempt_of(job, delivery.number);
                    if job.effect == Effect::Once && !self.claim(job) {
                        return;
                    }
                    Stage::Claimed
                }
            },
            Stage::Claimed => {
                self.begin(job.attempt);
                Stage::Running
            }
            Stage::Running => Stage::Settling(self.end(job, ends), 0),
            Stage::Settling(settlement, done) => match self.settle(job, &settlement, done) {
                true => return,
                false => Stage::Settling(settlement, done + 1),
            },
        };
        delivery.stage = next;
        self.under_way.push(delivery);
    }

    fn claim(&mut self, job: &mut Job) -> bool {
        let mut record = job.record.clone();
        record.claim = Some(Claim {
            worker_id: "w".to_owned(),
            attempt: job.attempt,
            at_ms: 1,
        });
        self.write(job, record)
    }

    fn begin(&mut self, attempt: u32) {
        self.starts += 1;
        let most = self.retry.max_attempts();
        assert!((1..=most).contains(&attempt), "attempt {attempt} of {most}");
        if self.effect == Effect::Once {
            // Only an attempt whose tool said that it did nothing makes room for another.
            let harmless = u32::try_from(self.record.attempts.len()).expect("few");
            assert!(self.starts <= harmless + 1, "{} starts", self.starts);
        }
    }

    fn end(&self, job: &Job, ends: Ends) -> Settlement {
        if let Some(marker) = &self.marker {
            return Settlement::Answer(answers::cancelled(marker));
        }
        if self.deadline_ms == 1 {
            return Settlement::Answer(answers::too_late(&job.task));
        }
        let verdict = match ends {
            Ends::Well => Verdict::success(json!({ "output": "" })),
            Ends::Badly => Verdict::failure("no", json!({})),
            Ends::WithRetry => Verdict::Retry("busy".to_owned()),
            Ends::WithReject => Verdict::Reject("never".to_owned()),
        };
        conclude(Some(verdict), job, 0.5)
    }

    /// Does the next step of a settlement; whether it was the last.
    fn settle(&mut self, job: &mut Job, settlement: &Settlement, done: u32) -> bool {
        match (settlement, done) {
            (Settlement::Withhold, _) => return true,
            (Settlement::Answer(result), 0) => self.store(result.clone()),
            (Settlement::Bury(_), 0) => self.letters = 1,
            (Settlement::Bury(error), 1) => self.store(answers::given_up(error)),
            (Settlement::Again { error, .. }, _) => {
                self.note(job, error);
                return true;
            }
            (Settlement::HandBack, _) => {
                self.hand_back(job);
                return true;
            }
            (Settlement::Answer(_) | Settlement::Bury(_) | Settlement::Acknowledge, _) => {
                assert!(self.result.is_some(), "acknowledged without a result");
                self.stored = false;
                return true;
            }
        }
        false
    }

    /// The first result is the task's result.
    fn store(&mut self, result: ToolResult) {
        self.result.get_or_insert(result);
    }

    fn note(&mut self, job: &mut Job, error: &str) {
        let mut record = job.record.clone();
        record.claim = None;
        record.attempts.push(AttemptNote {
            attempt: job.attempt,
            worker_id: "w".to_owned(),
            at_ms: 1,
            error: error.to_owned(),
        });
        self.write(job, record);
    }

    fn hand_back(&mut self, job: &mut Job) {
        let mut record = job.record.clone();
        record.claim = None;
        record.handed_back += 1;
        self.write(job, record);
    }

    fn drain(&mut self, mut delivery: Delivery) {
        match delivery.stage {
            // Never started: whatever the record is by now, it keeps its claim.
            Stage::Examined(_) => {
                self.record.handed_back += 1;
                self.revision += 1;
                return;
            }
            Stage::Running if self.effect == Effect::Idempotent => {
                delivery.stage = Stage::Settling(Settlement::HandBack, 0);
            }
            Stage::Running => {
                let job = &delivery.job;
                let stopped = answers::stopped(StopReason::Shutdown, &job.task, json!({}));
                delivery.stage = Stage::Settling(Settlement::Answer(stopped), 0);
            }
            Stage::Claimed | Stage::Settling(..) => {}
        }
        self.under_way.push(delivery);
    }

    /// Delivers to a worker that nothing happens to, until the task is gone.
    fn run_to_its_end(&mut self) {
        self.under_way.clear();
        for _ in 0..=self.retry.max_attempts() + 1 {
            self.deliver();
            while let Some(delivery) = self.take(0) {
                self.step(delivery, Ends::Well);
            }
        }
    }
}

fn what_happens() -> impl Strategy<Value = Happens> {
    let ends = prop_oneof![
        4 => Just(Ends::Well),
        1 => Just(Ends::Badly),
        3 => Just(Ends::WithRetry),
        1 => Just(Ends::WithReject),
    ];
    prop_oneof![
        6 => Just(Happens::Delivery),
        20 => (any::<usize>(), ends).prop_map(|(which, ends)| Happens::Step(which, ends)),
        3 => any::<usize>().prop_map(Happens::Crash),
        2 => any::<usize>().prop_map(Happens::Drain),
        1 => Just(Happens::Cancel),
        1 => Just(Happens::Deadline),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// In every order: a `once` task is not started again unless its tool said that nothing
    /// happened; no attempt above the last one is started; a task goes with its result in place
    /// and never otherwise; the result never changes; and there is always a way to the end.
    #[test]
    fn every_order_of_events_ends_in_one_outcome(
        once in any::<bool>(),
        max_retries in 0_u32..4,
        events in prop::collection::vec(what_happens(), 0..60),
    ) {
        let effect = if once { Effect::Once } else { Effect::Idempotent };
        let mut world = World::new(effect, max_retries);
        let mut first = None;
        for event in &events {
            world.happens(event);
            first = first.or(world.result.clone());
            prop_assert_eq!(&first, &world.result);
            prop_assert!(world.stored || world.result.is_some(), "the task is lost");
        }
        world.run_to_its_end();
        prop_assert!(!world.stored, "the task stays for ever");
        prop_assert!(world.result.is_some());
        prop_assert!(first.is_none() || first == world.result);
    }
}
