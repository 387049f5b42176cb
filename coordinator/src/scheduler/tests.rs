//! The laws of scheduling, by example and by property.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn task<T>(item: T, submitted: Instant, timeout_ms: u64) -> Waiting<T> {
    Waiting {
        item,
        submitted,
        deadline: submitted + Duration::from_millis(timeout_ms),
        holds_slot: true,
    }
}

fn push<T>(scheduler: &mut Scheduler<T>, lane: SessionLane, item: T, now: Instant) -> Ticket {
    scheduler.push(lane, task(item, now, 60_000)).expect("open")
}

fn start_all<T>(scheduler: &mut Scheduler<T>, now: Instant) -> Vec<T> {
    std::iter::from_fn(|| scheduler.next(now))
        .map(|(_, task)| task.item)
        .collect()
}

#[test]
fn g_e_q_c_start_as_c_q_e_g() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new([1; 4], Boost::default(), None);
    for lane in SessionLane::ALL.into_iter().rev() {
        push(&mut scheduler, lane, lane.priority(), now);
    }
    assert_eq!(start_all(&mut scheduler, now), [0, 1, 2, 3]);
}

#[test]
fn a_task_about_to_expire_overtakes_a_higher_lane() {
    let start = Instant::now();
    let boost = Boost::standard(Duration::from_secs(300));
    let mut scheduler = Scheduler::new([1; 4], boost, None);
    scheduler
        .push(SessionLane::Execute, task("old", start, 10_000))
        .expect("open");
    let later = start + Duration::from_secs(6);
    scheduler
        .push(SessionLane::Query, task("new", later, 10_000))
        .expect("open");
    assert_eq!(start_all(&mut scheduler, later), ["old", "new"]);
}

#[test]
fn what_the_broker_counts_needs_no_slot() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new([1; 4], Boost::default(), None);
    for item in 0..5 {
        let task = Waiting {
            holds_slot: false,
            ..task(item, now, 1_000)
        };
        scheduler.push(SessionLane::Query, task).expect("open");
    }
    assert_eq!(start_all(&mut scheduler, now).len(), 5);
    assert_eq!(scheduler.active(SessionLane::Query), 5);
}

#[test]
fn slots_of_an_earlier_process_count() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new([3; 4], Boost::default(), None);
    for item in 0..5 {
        push(&mut scheduler, SessionLane::Query, item, now);
    }
    scheduler.set_inherited(SessionLane::Query, 2);
    assert_eq!(start_all(&mut scheduler, now), [0]);
    scheduler.set_inherited(SessionLane::Query, 0);
    assert_eq!(start_all(&mut scheduler, now), [1, 2]);
}

#[test]
fn while_paused_only_control_starts() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new([1; 4], Boost::default(), None);
    push(&mut scheduler, SessionLane::Query, "query", now);
    push(&mut scheduler, SessionLane::Control, "control", now);
    scheduler.set_paused(true);
    assert_eq!(start_all(&mut scheduler, now), ["control"]);
    scheduler.set_paused(false);
    assert_eq!(start_all(&mut scheduler, now), ["query"]);
}

#[test]
fn a_closed_one_refuses_and_gives_back_what_waits() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new([1; 4], Boost::default(), None);
    push(&mut scheduler, SessionLane::Query, 1, now);
    push(&mut scheduler, SessionLane::Execute, 2, now);
    assert_eq!(scheduler.close(), [1, 2]);
    assert_eq!(
        scheduler.push(SessionLane::Query, task(3, now, 1)),
        Err(Closed)
    );
    assert_eq!(scheduler.next_deadline(), None);
}

#[test]
fn pressure_and_idle_alternate() {
    let now = Instant::now();
    let mut scheduler = Scheduler::new([10; 4], Boost::default(), Some(2));
    let lane = SessionLane::Query;
    push(&mut scheduler, lane, 1, now);
    assert_eq!(scheduler.edge(lane), None);
    push(&mut scheduler, lane, 2, now);
    assert_eq!(scheduler.edge(lane), Some(Edge::Pressure));
    push(&mut scheduler, lane, 3, now);
    assert_eq!(scheduler.edge(lane), None);
    scheduler.next(now).expect("a free slot");
    assert_eq!(scheduler.edge(lane), None);
    start_all(&mut scheduler, now);
    assert_eq!(scheduler.edge(lane), Some(Edge::Idle));
    assert_eq!(scheduler.edge(lane), None);
}

/// Something that happens to a scheduler.
#[derive(Debug, Clone)]
enum Step {
    Push {
        lane: usize,
        timeout_ms: u64,
        holds_slot: bool,
    },
    Start,
    Finish(usize),
    Remove(usize),
    Cap {
        lane: usize,
        cap: usize,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_usize, 1..500_u64, prop::bool::weighted(0.8)).prop_map(
            |(lane, timeout_ms, holds_slot)| Step::Push { lane, timeout_ms, holds_slot }
        ),
        4 => Just(Step::Start),
        2 => any::<usize>().prop_map(Step::Finish),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => (0..4_usize, 1..5_usize).prop_map(|(lane, cap)| Step::Cap { lane, cap }),
        2 => (0..300_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn each_task_leaves_once_in_order_and_within_the_cap(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut now = Instant::now();
        let mut scheduler = Scheduler::new([2, 4, 2, 1], Boost::default(), None);
        let (mut tickets, mut left, mut running) = (Vec::new(), Vec::new(), Vec::new());
        let mut last_started = [None; 4];
        for step in steps {
            match step {
                Step::Push { lane, timeout_ms, holds_slot } => {
                    let item = tickets.len();
                    let waiting = Waiting { holds_slot, ..task(item, now, timeout_ms) };
                    let lane = SessionLane::ALL[lane];
                    tickets.push(scheduler.push(lane, waiting).expect("open"));
                }
                Step::Start => {
                    left.extend(scheduler.expire(now));
                    let best = SessionLane::ALL.into_iter().find(|lane| {
                        scheduler.lanes[lane.index()].first_startable().is_some()
                    });
                    let started = scheduler.next(now);
                    prop_assert_eq!(started.as_ref().map(|(lane, _)| *lane), best);
                    if let Some((lane, task)) = started {
                        prop_assert!(task.deadline > now, "an expired task started");
                        prop_assert!(last_started[lane.index()] < Some(task.item), "not in order");
                        last_started[lane.index()] = Some(task.item);
                        left.push(task.item);
                        running.push((lane, task.holds_slot));
                        let held = running.iter().filter(|r| **r == (lane, true)).count();
                        prop_assert!(!task.holds_slot || held <= scheduler.cap(lane));
                    }
                }
                Step::Finish(pick) if !running.is_empty() => {
                    let (lane, holds_slot) = running.swap_remove(pick % running.len());
                    scheduler.finish(lane, holds_slot);
                }
                Step::Remove(pick) if !tickets.is_empty() => {
                    left.extend(scheduler.remove(tickets[pick % tickets.len()]));
                }
                Step::Finish(_) | Step::Remove(_) => {}
                Step::Cap { lane, cap } => scheduler.set_cap(SessionLane::ALL[lane], cap),
                Step::Pass(ms) => now += Duration::from_millis(ms),
            }
        }
        left.extend(scheduler.close());
        left.sort_unstable();
        prop_assert_eq!(left, (0..tickets.len()).collect::<Vec<_>>());
    }
}
