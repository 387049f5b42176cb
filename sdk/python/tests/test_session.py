"""The caller: lanes, handlers, host tasks, statistics, cancel, restarts."""

import asyncio
from typing import Any

import pytest
from conftest import Fleet, until

from a3s_worker import (
    BrokerError,
    ExternalTask,
    ExternalTaskResult,
    LaneHandlerConfig,
    Outcome,
    RetryPolicy,
    Session,
    SessionQueueConfig,
    SubmitError,
    Task,
)


class Own:
    """A command that runs in the caller's process."""

    command_type = "own"

    def __init__(self, payload: Any) -> None:
        self.payload = payload

    def execute(self) -> Any:
        return {"here": self.payload}


async def test_a_lane_is_handled_as_it_was_when_the_task_was_submitted(fleet: Fleet) -> None:
    session = await fleet.session()
    session.set_lane_handler("Query", LaneHandlerConfig("hybrid", 5_000))
    assert session.get_lane_handler("query") == LaneHandlerConfig("Hybrid", 5_000)
    events = session.events()
    here = await session.submit("Query", Own(1))
    session.set_lane_handler("Query", LaneHandlerConfig("External"))
    result = await here
    assert (result.result, result.worker_id) == ({"here": 1}, "coordinator")
    kinds = [(await asyncio.wait_for(anext(events), 60)).kind for _ in range(2)]
    assert kinds == ["queue.command.started", "queue.command.completed"]
    session.set_lane_handler("Query", LaneHandlerConfig("Internal"))
    failed = await (await session.submit("Query", Task("read")))
    assert "set its lane to External" in (failed.error or "")


async def test_an_external_handler_is_a_worker_without_a_broker(fleet: Fleet) -> None:
    session = await fleet.session()

    async def handle_task(task: Any) -> Any:
        return {"success": True, "result": {"output": f"task completed: {task['id']}"}}

    session.set_external_task_handler(handle_task)
    handle = await session.submit_by_tool("bash", {"command": "true"})
    assert (await handle).result == {"output": f"task completed: {handle.task_id}"}


async def test_the_host_pulls_and_completes_each_task_once(fleet: Fleet) -> None:
    session = await fleet.session()
    assert session.pending_external_tasks() == []
    handle = await session.submit_by_tool("read", {"path": "x"})

    async def pending() -> list[ExternalTask]:
        return session.pending_external_tasks()

    [task] = await until("the task is offered", pending)
    assert session.pending_external_tasks() == [], "a task is given to one caller"
    answer = ExternalTaskResult(True, {"content": "y"})
    assert session.complete_external_task(task.task_id, answer)
    assert not session.complete_external_task(task.task_id, answer)
    assert not session.complete_external_task("never", answer)
    assert (await handle).result == {"content": "y"}


async def test_what_waits_and_runs_is_counted_and_measured(fleet: Fleet) -> None:
    gate = asyncio.Event()

    async def wait(task: ExternalTask) -> None:
        await gate.wait()

    await fleet.worker({"wait": wait})
    session = await fleet.session(config=SessionQueueConfig(enable_metrics=True))
    handles = [await session.submit("Query", Task("wait")) for _ in range(6)]

    async def four_stored() -> bool:
        return await fleet.tasks_left() == 4

    await until("four tasks at the broker", four_stored)
    stats = await session.queue_stats()
    lane = stats.per_lane["Query"]
    assert (lane.pending, lane.active, lane.max_concurrency) == (2, 4, 4)
    assert (stats.pending_count, stats.active_count, stats.external_count) == (2, 4, 6)
    gate.set()
    await asyncio.gather(*handles)
    metrics = await session.queue_metrics()
    assert metrics is not None
    assert (metrics.total_processed, metrics.success_rate) == (6, 1.0)
    assert metrics.counters["lane.commands.completed.query"] == 6
    assert metrics.avg_latency <= metrics.p95_latency <= metrics.p99_latency


async def test_a_task_that_nobody_takes_is_answered_after_its_deadline(fleet: Fleet) -> None:
    session = await fleet.session()
    result = await (await session.submit("Query", Task("read", timeout_ms=200)))
    assert (result.outcome, result.worker_id) == (Outcome.TIMED_OUT, "coordinator")
    assert await fleet.tasks_left() == 0


async def test_a_task_that_waits_here_is_cancelled_from_outside(fleet: Fleet) -> None:
    session = await fleet.session("s", config=SessionQueueConfig(query_max_concurrency=1))
    queued = await session.submit("Query", Task("read"))
    waiting = await session.submit("Query", Task("read"))
    arguments = ("task", "cancel", "--session", "s", waiting.task_id)
    status, out, err = await fleet.coordinator(*arguments)
    assert (await waiting).outcome is Outcome.CANCELLED, (status, out, err)
    assert not queued.done()
    assert await session.cancel(queued.task_id)
    assert (await queued).outcome is Outcome.CANCELLED
    assert not await session.cancel("nobody-knows-it")


async def test_a_paused_session_starts_nothing_but_control(fleet: Fleet) -> None:
    async def echo(task: ExternalTask) -> Any:
        return task.payload

    await fleet.worker({"echo": echo})
    session = await fleet.session("s")
    assert (await fleet.coordinator("session", "pause", "s"))[0] == 0

    async def paused() -> bool:
        assert session._core is not None
        return session._core.paused

    await until("the session is paused", paused)
    held = await session.submit("Query", Task("echo", 1))
    assert (await (await session.submit("Control", Task("echo", 2)))).result == 2
    assert not held.done()
    assert (await fleet.coordinator("session", "resume", "s"))[0] == 0
    assert (await held).result == 1


async def test_a_named_task_finds_its_result_after_a_restart(fleet: Fleet) -> None:
    starts: list[str] = []

    async def once(task: ExternalTask) -> int:
        starts.append(task.task_id)
        return len(starts)

    await fleet.worker({"once": once})
    async with await _again(fleet) as session:
        assert (await (await session.submit("Query", Task("once", id="mine")))).result == 1
    async with await _again(fleet) as session:
        assert (await (await session.submit("Query", Task("once", id="mine")))).result == 1
    assert starts == ["mine"]


async def _again(fleet: Fleet) -> Session:
    config = SessionQueueConfig().with_external_lanes()
    return Session("s", nats_url=fleet.server.url, settings=fleet.settings, config=config)


async def test_closing_answers_everyone_who_waits(fleet: Fleet) -> None:
    session = await fleet.session(close_grace=0.1)
    handles = [await session.submit("Query", Task("read")) for _ in range(6)]
    await session.close()
    results = await asyncio.gather(*handles)
    assert {r.outcome for r in results} == {Outcome.CANCELLED}
    with pytest.raises(SubmitError):
        await session.submit("Query", Task("read"))
    assert await fleet.tasks_left() == 0


async def test_a_full_lane_lets_its_callers_wait(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("a3s_worker.core.MAX_WAITING", 2)
    session = await fleet.session(config=SessionQueueConfig(query_max_concurrency=1))
    handles = [await session.submit("Query", Task("read")) for _ in range(3)]
    with pytest.raises(SubmitError, match="lane query had no room for 100 ms"):
        await session.submit("Query", Task("read", timeout_ms=100))
    more = asyncio.create_task(session.submit("Query", Task("read")))
    await session.cancel(handles[2].task_id)
    assert not (await more).done()
    with pytest.raises(SubmitError, match="is in use"):
        await session.submit("Control", Task("read", id=handles[1].task_id))


async def test_a_session_that_goes_elsewhere_and_nonsense_are_refused(fleet: Fleet) -> None:
    await fleet.session("s", own=True)
    with pytest.raises(BrokerError, match="session s goes to"):
        await fleet.session("s", pool="eu")
    with pytest.raises(ValueError, match=r"invalid session id 'a\.b'"):
        Session("a.b")
    with pytest.raises(ValueError, match="invalid pool 'Query'"):
        Session(pool="Query")
    with pytest.raises(ValueError, match="query is 0"):
        SessionQueueConfig(query_max_concurrency=0)
    assert RetryPolicy().max_attempts == 4
