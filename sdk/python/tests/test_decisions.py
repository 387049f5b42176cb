"""The pure parts: pulls, slots, verdicts, encodings, names."""

import json

import pytest

from a3s_worker import Effect, ExternalTaskResult, Reject, Retry, RetryAfter, RetryPolicy
from a3s_worker.delivery import again
from a3s_worker.judge import Again, Answer, Bury, Job, attempt_of, conclude, judge
from a3s_worker.opening import reopened
from a3s_worker.pulls import (
    BACK_OFF,
    DEAF_AFTER,
    SETTLE,
    SWEEP_LOST_AFTER,
    Pulls,
    Status,
)
from a3s_worker.slots import Slots
from a3s_worker.tool import read_answer
from a3s_worker.turn import Turn
from a3s_worker.wire import clock
from a3s_worker.wire.encoding import MAX_DEPTH, Encoding, MalformedError
from a3s_worker.wire.fields import read_map
from a3s_worker.wire.lane import LANES, SessionLane
from a3s_worker.wire.names import OWN, Names, Route
from a3s_worker.wire.note import SessionRecord
from a3s_worker.wire.record import AttemptNote, CancelMarker, Claim
from a3s_worker.wire.task import TASK_BODY, ExternalTask

CONTROL, QUERY, EXECUTE, GENERATE = LANES


def _one(_: SessionLane) -> int:
    return 1


def test_lanes_are_swept_top_down_and_armed_when_all_are_empty() -> None:
    pulls = Pulls(LANES, capped=False)
    for lane in LANES:
        [sweep] = pulls.plan(0.0, lambda _: 3)
        assert (sweep.lane, sweep.batch, sweep.waits) == (lane, 3, False)
        assert pulls.plan(0.1, lambda _: 3) == [], "what is below waits for the answer"
        pulls.status(lane, sweep.id, Status.EMPTY, 0.2)
    armed = pulls.plan(0.3, lambda _: 3)
    assert [(p.lane, p.batch, p.waits) for p in armed] == [(lane, 1, True) for lane in LANES]
    assert pulls.plan(0.4, lambda _: 3) == []


def test_a_pull_may_bring_something_until_it_did() -> None:
    pulls = Pulls([QUERY], capped=False)
    assert not pulls.any_wait()
    [sweep] = pulls.plan(0.0, _one)
    assert pulls.any_wait()
    pulls.status(QUERY, sweep.id, Status.EMPTY, 0.0)
    assert not pulls.any_wait()
    pulls.plan(0.0, _one)
    assert pulls.any_wait()
    pulls.arrived(QUERY)
    assert not pulls.any_wait()


def test_a_lane_without_room_is_not_asked_and_what_arrives_is_followed_by_another_sweep() -> None:
    pulls = Pulls([QUERY], capped=False)
    assert pulls.plan(0.0, lambda _: 0) == []
    [sweep] = pulls.plan(0.0, lambda _: 2)
    pulls.arrived(QUERY)
    assert pulls.plan(0.0, _one) == [], "one is still to come"
    pulls.arrived(QUERY)
    [next_sweep] = pulls.plan(0.0, _one)
    assert next_sweep.id != sweep.id
    pulls.status(QUERY, sweep.id, Status.EMPTY, 0.0)
    assert pulls.plan(0.0, _one) == [], "the status of an earlier pull says nothing"


def test_silence_and_refusals_lead_to_another_pull_in_time() -> None:
    pulls = Pulls([QUERY], capped=True)
    [armed] = pulls.plan(0.0, _one)
    assert armed.waits
    pulls.status(QUERY, armed.id, Status.HEARTBEAT, 2.0)
    assert pulls.wake_at() == 2.0 + DEAF_AFTER
    assert pulls.plan(2.0 + DEAF_AFTER - 0.1, _one) == []
    [second] = pulls.plan(2.0 + DEAF_AFTER, _one)
    pulls.status(QUERY, second.id, Status.REFUSED, 10.0)
    assert pulls.plan(10.0, _one) == []
    [third] = pulls.plan(10.0 + BACK_OFF, _one)
    pulls.forget_all()
    [fourth] = pulls.plan(10.6, _one)
    assert len({armed.id, second.id, third.id, fourth.id}) == 4
    swept = Pulls([QUERY], capped=False)
    swept.plan(0.0, _one)
    assert len(swept.plan(SWEEP_LOST_AFTER, _one)) == 1


def test_a_task_of_a_lower_lane_waits_for_news_of_a_higher_one() -> None:
    pulls = Pulls([CONTROL, EXECUTE], capped=False)
    [sweep] = pulls.plan(0.0, _one)
    assert pulls.may_start(EXECUTE, 0.0) is None
    pulls.status(CONTROL, sweep.id, Status.EMPTY, 0.0)
    assert pulls.may_start(EXECUTE, 0.0) == 0.0
    own = Pulls([CONTROL, EXECUTE], capped=True)
    own.plan(1.0, _one)
    assert own.may_start(EXECUTE, 1.0) == 1.0 + SETTLE
    assert own.may_start(CONTROL, 1.0) == 1.0


def test_control_has_a_slot_that_no_other_lane_can_take() -> None:
    slots = Slots(1, serves_control=True)
    query = slots.take(QUERY)
    assert query is not None
    assert slots.take(QUERY) is None
    control = slots.take(CONTROL)
    assert control is not None
    assert slots.take(CONTROL) is None
    control.give_back()
    control.give_back()
    assert (slots.busy, slots.free(QUERY), slots.free(CONTROL)) == (1, 0, 1)
    query.give_back()
    assert (slots.busy, slots.free(QUERY), slots.free(CONTROL)) == (0, 1, 2)


def _job(effect: Effect = Effect.IDEMPOTENT, left_ms: int = 60_000) -> Job:
    deadline = clock.now_ms() + left_ms
    task = ExternalTask("t", "s", QUERY, "read", None, 60_000, deadline, effect=effect)
    return Job(task, Encoding.JSON, RetryPolicy(), attempt=1)


def test_what_happened_comes_before_what_is_wished_and_that_before_the_time() -> None:
    job = _job(Effect.ONCE)
    assert judge(job, 1, None) is None, "it is to be run"
    job.task.deadline_ms = 1
    kinds = []
    for claim, marker in [(None, None), (None, CancelMarker()), (Claim("w", 1, 1), CancelMarker())]:
        job.record.claim = claim
        settlement = judge(job, 9, marker)
        assert isinstance(settlement, Answer)
        kinds.append(settlement.result.error_kind)
    assert kinds == ["timed_out", "cancelled", "unknown"]


def test_deliveries_are_attempts_of_idempotent_tasks_only() -> None:
    job = _job()
    assert judge(job, 4, None) is None
    assert isinstance(judge(job, 5, None), Bury)
    job.record.handed_back = 1
    assert judge(job, 5, None) is None, "one was handed back"
    once = _job(Effect.ONCE)
    assert judge(once, 50, None) is None, "nobody has claimed it yet"
    once.record.attempts.append(AttemptNote(1, "w", 1, "busy"))
    assert attempt_of(once, 7) == 2


def test_an_attempt_is_later_than_every_attempt_that_is_noted() -> None:
    job = _job()
    job.record.attempts.append(AttemptNote(3, "w", 1, "busy"))
    assert attempt_of(job, 2) == 4, "a server that was killed counts less than it delivered"
    assert attempt_of(job, 6) == 6


def test_another_attempt_is_had_until_none_is_left() -> None:
    job = _job()
    assert conclude(Retry("busy"), job, 1.0) == Again("busy", 100)
    assert conclude(RetryAfter("busy", 2.5), job, 1.0) == Again("busy", 2500)
    assert conclude(Reject("never"), job, 0.0) == Bury("never")
    done = ExternalTaskResult(True, 1)
    assert conclude(done, job, 0.0) == Answer(done)
    job.attempt = 4
    assert conclude(Retry("busy"), job, 1.0) == Bury("busy (attempt 4 of 4)")


def test_delays_double_are_capped_and_spread_over_the_upper_half() -> None:
    policy = RetryPolicy()
    assert [policy.wait_ms(n, 1.0) for n in (1, 2, 3, 60)] == [100, 200, 400, 30_000]
    assert policy.wait_ms(1, 0.0) == 50
    assert again(0) == b"-NAK"
    assert json.loads(again(1500)[5:]) == {"delay": 1_500_000_000}


@pytest.mark.parametrize("encoding", list(Encoding))
def test_the_deepest_nesting_is_read_and_one_more_is_malformed(encoding: Encoding) -> None:
    value: object = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert encoding.decode(encoding.encode(value)) == value
    with pytest.raises(MalformedError):
        encoding.decode(encoding.encode([value]))


def test_two_names_for_a_field_and_constants_that_are_no_numbers_are_malformed() -> None:
    with pytest.raises(MalformedError, match="give one of them"):
        read_map(TASK_BODY, {"command_type": "x", "taskId": "a", "id": "b"})
    for body in (b"NaN", b"[Infinity]", b'"\\ud800"', b"\xef\xbb\xbf{}", b"{} {}"):
        with pytest.raises(MalformedError):
            Encoding.JSON.decode(body)
    assert Encoding.JSON.decode(b' \n"\\ud83e\\udd80" \t') == "🦀"


@pytest.mark.parametrize("encoding", list(Encoding))
def test_what_every_language_reads_is_written_and_nothing_else(encoding: Encoding) -> None:
    said = {"a": (1, 2), 3: [SessionLane.QUERY, 1.5, None]}
    assert encoding.decode(encoding.encode(said)) == {"a": [1, 2], "3": ["Query", 1.5, None]}
    for value in (b"bytes", float("nan"), {1, 2}, object(), {"deep": [b""]}):
        with pytest.raises((TypeError, ValueError)):
            encoding.encode(value)


def test_a_dict_is_a_result_only_when_it_looks_like_one() -> None:
    said = read_answer({"success": False, "result": 1, "errorKind": "refused"})
    assert said == ExternalTaskResult(False, 1, None, "refused")
    for value in ({"success": True, "files": []}, {"success": "yes"}, {"result": 1}, None):
        assert read_answer(value) == ExternalTaskResult(True, value)


def test_task_subjects_are_read_back_and_others_are_none() -> None:
    names = Names()
    for route in (Route(), Route("eu"), OWN):
        for lane in LANES:
            address = names.parse_task(names.task("s1", lane, route))
            assert address is not None
            assert (address.session, address.lane, address.route) == ("s1", lane, route)
    for subject in ("a3s.s.result.t", "a3s.s.Query", "a3s.s", "b.s.query", "a3s.s.query.eu.x"):
        assert names.parse_task(subject) is None, subject
    assert GENERATE.priority == 3


def test_a_closed_session_may_go_elsewhere_and_a_paused_one_stays_paused() -> None:
    own = SessionRecord("s", OWN, 7)
    assert reopened(own, "s", None) == own
    closed = SessionRecord("s", OWN, 7, state="closed")
    moved = reopened(closed, "s", Route("eu"))
    assert (moved.route, moved.state) == (Route("eu"), "open")
    paused = SessionRecord("s", OWN, 7, state="paused")
    assert reopened(paused, "s", OWN).state == "paused"


def test_who_says_no_distance_is_last_and_only_a_helper_names_a_threshold() -> None:
    assert Turn().said() == {"group": "workers", "priority": 9}
    assert Turn(distance=0).said() == {"group": "workers", "priority": 0}
    assert Turn(help_when=20).said() == {"group": "workers", "min_pending": 20}
    for wrong in ({"distance": 10}, {"help_when": 0}, {"distance": 1, "help_when": 1}):
        with pytest.raises(ValueError, match=r"use|give"):
            Turn(**wrong)
