//! What is asked of the broker, and when: the rules of `pulls`.

use super::*;
use SessionLane::{Control, Execute, Query};

fn pulls(manner: Manner) -> Pulls {
    Pulls::new(vec![Execute, Control, Query], manner)
}

fn lanes(pulls: &[Pull]) -> Vec<(SessionLane, usize, bool)> {
    pulls
        .iter()
        .map(|p| (p.lane, p.batch, p.wait.is_some()))
        .collect()
}

/// Answers every sweep with "nothing" until all lanes are armed.
fn settle(pulls: &mut Pulls, now: Instant) -> Vec<Pull> {
    loop {
        let sent = pulls.plan(now, |_| 4);
        if sent.iter().all(|p| p.wait.is_some()) {
            return sent;
        }
        for pull in sent {
            pulls.status(pull.lane, pull.id, Status::Empty, now);
        }
    }
}

#[test]
fn lanes_are_asked_top_down_and_armed_when_all_are_empty() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    let sent = pulls.plan(now, |_| 4);
    assert_eq!(lanes(&sent), [(Control, 4, false)]);
    assert!(
        pulls.plan(now, |_| 4).is_empty(),
        "one pull a lane, and lower lanes wait"
    );
    let armed = settle_after(&mut pulls, sent[0], now);
    assert_eq!(
        lanes(&armed),
        [(Control, 1, true), (Query, 1, true), (Execute, 1, true)]
    );
    assert!(pulls.plan(now, |_| 4).is_empty());
}

fn settle_after(pulls: &mut Pulls, first: Pull, now: Instant) -> Vec<Pull> {
    pulls.status(first.lane, first.id, Status::Empty, now);
    settle(pulls, now)
}

#[test]
fn an_arrival_makes_its_lane_unknown_and_only_that_lane_is_swept() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    settle(&mut pulls, now);
    pulls.arrived(Execute, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 3)), [(Execute, 3, false)]);
}

#[test]
fn the_lane_that_brought_the_last_task_asks_for_all_that_is_free() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    settle(&mut pulls, now);
    pulls.arrived(Query, now);
    let sweep = pulls.plan(now, |_| 4)[0];
    pulls.status(Query, sweep.id, Status::Empty, now);
    let hot = pulls.plan(now, |_| 4);
    assert_eq!(lanes(&hot), [(Query, 4, true)]);
    pulls.arrived(Query, now);
    assert!(pulls.plan(now, |_| 3).is_empty(), "more may follow");
    pulls.status(Query, hot[0].id, Status::Empty, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 3)), [(Query, 3, true)]);
}

#[test]
fn what_an_armed_pull_may_bring_is_not_asked_of_another_lane() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    settle(&mut pulls, now);
    pulls.arrived(Query, now);
    let sweep = pulls.plan(now, |_| 4)[0];
    pulls.status(Query, sweep.id, Status::Empty, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 4)), [(Query, 4, true)]);
    pulls.arrived(Execute, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 4)), [(Execute, 1, false)]);
}

#[test]
fn a_lane_that_brought_nothing_in_its_time_is_hot_no_more() {
    let (mut pulls, now) = (Pulls::new(vec![Query], Manner::Shared), Instant::now());
    settle(&mut pulls, now);
    pulls.arrived(Query, now);
    let hot = settle(&mut pulls, now)[0];
    assert_eq!(hot.batch, 4);
    let later = now + HOT_EXPIRES;
    pulls.status(Query, hot.id, Status::Empty, later);
    assert_eq!(lanes(&pulls.plan(later, |_| 4)), [(Query, 1, true)]);
}

#[test]
fn a_lower_lane_waits_while_a_higher_one_is_asked() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    settle(&mut pulls, now);
    pulls.arrived(Query, now);
    pulls.arrived(Execute, now);
    pulls.plan(now, |_| 1);
    assert_eq!(pulls.may_start(Execute, now), None);
    assert_eq!(pulls.may_start(Query, now), Some(now));
}

#[test]
fn nothing_is_asked_without_a_free_slot() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    assert!(pulls.plan(now, |_| 0).is_empty());
    let control_only = pulls.plan(now, |lane| usize::from(lane == Control));
    assert_eq!(lanes(&control_only), [(Control, 1, false)]);
}

#[test]
fn a_lane_that_was_empty_when_the_last_slot_went_is_asked_first_when_one_returns() {
    let (mut pulls, now) = (
        Pulls::new(vec![Query, Execute], Manner::Shared),
        Instant::now(),
    );
    let query = pulls.plan(now, |_| 1)[0];
    pulls.status(Query, query.id, Status::Empty, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 1)), [(Execute, 1, false)]);
    pulls.arrived(Execute, now);
    assert!(pulls.plan(now, |_| 0).is_empty());
    let later = now + EXPIRES;
    assert_eq!(lanes(&pulls.plan(later, |_| 1)), [(Query, 1, false)]);
}

#[test]
fn a_silent_broker_is_asked_again() {
    let (mut pulls, now) = (pulls(Manner::Shared), Instant::now());
    let armed = settle(&mut pulls, now);
    pulls.status(Control, armed[0].id, Status::Heartbeat, now + HEARTBEAT);
    let later = now + DEAF_AFTER;
    assert_eq!(
        lanes(&pulls.plan(later, |_| 1)),
        [(Query, 1, false)],
        "control was heard"
    );
    assert_eq!(
        pulls.wake_at(),
        Some(later + SWEEP_LOST_AFTER).min(pulls.wake_at())
    );
}

#[test]
fn a_refusal_is_answered_by_patience() {
    let (mut pulls, now) = (Pulls::new(vec![Query], Manner::Shared), Instant::now());
    let sent = pulls.plan(now, |_| 1);
    pulls.status(Query, sent[0].id, Status::Refused, now);
    assert!(pulls.plan(now, |_| 1).is_empty());
    assert_eq!(pulls.wake_at(), Some(now + BACK_OFF));
    assert_eq!(pulls.plan(now + BACK_OFF, |_| 1).len(), 1);
}

#[test]
fn the_status_of_an_earlier_pull_is_ignored() {
    let (mut pulls, now) = (Pulls::new(vec![Query], Manner::Shared), Instant::now());
    let old = pulls.plan(now, |_| 1)[0];
    pulls.forget_all();
    let new = pulls.plan(now, |_| 1)[0];
    pulls.status(Query, old.id, Status::Empty, now);
    assert!(pulls.plan(now, |_| 1).is_empty());
    pulls.status(Query, new.id, Status::Empty, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 1)), [(Query, 1, true)]);
}

#[test]
fn own_lanes_are_never_swept_and_a_lower_one_waits_for_a_higher_ones_answer() {
    let (mut pulls, now) = (pulls(Manner::Capped), Instant::now());
    let sent = pulls.plan(now, |_| 4);
    assert!(sent.iter().all(|p| p.wait.is_some() && p.batch == 1) && sent.len() == 3);
    assert_eq!(pulls.may_start(Control, now), Some(now));
    assert_eq!(pulls.may_start(Execute, now), Some(now + SETTLE));
    assert_eq!(pulls.may_start(Execute, now + SETTLE), Some(now + SETTLE));
}

#[test]
fn a_lane_whose_tasks_go_to_others_is_left_a_waiting_pull() {
    // Asking at once again would never end where others hold back their pulls for long.
    let (mut pulls, now) = (Pulls::new(vec![Query], Manner::Shared), Instant::now());
    let sweep = pulls.plan(now, |_| 4)[0];
    pulls.status(Query, sweep.id, Status::Empty, now);
    assert_eq!(lanes(&pulls.plan(now, |_| 4)), [(Query, 1, true)]);
}

fn standing(now: Instant) -> (Pulls, Pull) {
    let mut pulls = Pulls::new(vec![Query], Manner::Standing);
    let pull = settle(&mut pulls, now)[0];
    (pulls, pull)
}

#[test]
fn standing_lanes_are_all_left_pulls_for_all_free_slots() {
    let (mut pulls, now) = (pulls(Manner::Standing), Instant::now());
    let armed = settle(&mut pulls, now);
    assert_eq!(
        lanes(&armed),
        [(Control, 4, true), (Query, 4, true), (Execute, 4, true)]
    );
    pulls.arrived(Query, now);
    assert!(pulls.plan(now, |_| 3).is_empty(), "three are asked for");
}

#[test]
fn a_slot_that_returns_is_offered_beside_the_pulls_that_wait() {
    let now = Instant::now();
    let (mut pulls, _) = standing(now);
    pulls.arrived(Query, now);
    pulls.arrived(Query, now);
    assert!(pulls.plan(now, |_| 2).is_empty());
    assert_eq!(lanes(&pulls.plan(now, |_| 4)), [(Query, 2, true)]);
    assert!(pulls.plan(now, |_| 4).is_empty());
}

#[test]
fn other_pulls_take_the_place_of_standing_ones_before_these_end() {
    let now = Instant::now();
    let (mut pulls, first) = standing(now);
    let later = now + HEARTBEAT * 2;
    pulls.status(Query, first.id, Status::Heartbeat, later);
    pulls.arrived(Query, later);
    let further = pulls.plan(later, |_| 4)[0];
    let rest = (STANDING_EXPIRES - HEARTBEAT * 2, Some(HEARTBEAT));
    assert_eq!(further.wait.map(|w| (w.expires, w.heartbeat)), Some(rest));
    pulls.status(Query, first.id, Status::Heartbeat, now + HEARTBEAT * 3);
    let ending = now + STANDING_EXPIRES - OVERLAP;
    assert_eq!(pulls.wake_at(), Some(ending));
    let next = pulls.plan(ending, |_| 4);
    assert_eq!(lanes(&next), [(Query, 4, true)]);
    for old in [first, further] {
        pulls.status(Query, old.id, Status::Empty, now + STANDING_EXPIRES);
    }
    assert!(pulls.plan(now + STANDING_EXPIRES, |_| 4).is_empty());
}

#[test]
fn without_a_free_slot_standing_pulls_end() {
    let now = Instant::now();
    let (mut pulls, _) = standing(now);
    for _ in 0..3 {
        pulls.arrived(Query, now + HEARTBEAT * 4);
    }
    let ending = now + STANDING_EXPIRES - OVERLAP;
    assert!(pulls.plan(ending, |_| 0).is_empty());
    assert_eq!(pulls.wake_at(), None);
    assert_eq!(lanes(&pulls.plan(ending, |_| 1)), [(Query, 1, false)]);
}

#[test]
fn any_sign_of_life_of_a_standing_lane_counts() {
    let now = Instant::now();
    let (mut pulls, first) = standing(now);
    pulls.arrived(Query, now);
    pulls.plan(now, |_| 4);
    pulls.status(Query, first.id, Status::Heartbeat, now + HEARTBEAT);
    // Early enough that the silence ends before the standing pulls do.
    let last = now + HEARTBEAT + Duration::from_millis(500);
    pulls.arrived(Query, last);
    let alive = last + DEAF_AFTER - Duration::from_millis(1);
    assert!(lanes(&pulls.plan(alive, |_| 3)).is_empty());
    let silent = last + DEAF_AFTER;
    assert_eq!(lanes(&pulls.plan(silent, |_| 3)), [(Query, 3, false)]);
}
