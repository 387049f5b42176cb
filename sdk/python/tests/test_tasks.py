"""What a worker makes of a task, seen from outside."""

import asyncio
import json
import time
from typing import Any

from conftest import Fleet, until

from a3s_worker import (
    Effect,
    Encoding,
    ExternalTask,
    Outcome,
    Reject,
    Retry,
    RetryAfter,
    RetryPolicy,
    SessionLane,
    SessionQueueConfig,
    Task,
    ToolError,
)
from a3s_worker.broker.blobs import remove_blob
from a3s_worker.broker.follow import held
from a3s_worker.broker.kept import (
    find_result,
    mark_cancelled,
    publish_result,
    read_record,
    write_record,
)
from a3s_worker.broker.topology import ensure
from a3s_worker.wire import clock
from a3s_worker.wire.record import Claim, TaskRecord
from a3s_worker.wire.result import TaskResult


async def _result(broker: Any, session: str, task_id: str) -> TaskResult:
    result: TaskResult = await until(
        f"the result of {task_id}", lambda: find_result(broker, session, task_id)
    )
    return result


async def test_a_tool_may_return_or_raise_whatever_it_has_to_say(fleet: Fleet) -> None:
    async def plain(task: ExternalTask) -> Any:
        return {"n": task.payload["n"] + 1}

    def in_a_thread(task: ExternalTask) -> Any:
        return {"success": False, "result": {"seen": 1}, "error": "as a dict"}

    def wrong(task: ExternalTask) -> Any:
        raise ToolError("no such file", {"path": "x"}, "invalid_input")

    def broken(task: ExternalTask) -> Any:
        return task.payload["missing"]

    async def exits(task: ExternalTask) -> Any:
        raise SystemExit(3)

    async def cancels_itself(task: ExternalTask) -> Any:
        raise asyncio.CancelledError

    def unwritable(task: ExternalTask) -> Any:
        return {"value": object()}

    tools = [plain, in_a_thread, wrong, broken, exits, cancels_itself, unwritable]
    await fleet.worker({tool.__name__: tool for tool in tools})
    session = await fleet.session()

    async def ask(tool: str) -> tuple[Any, ...]:
        result = await (await session.submit_by_tool(tool, {"n": 1}))
        return result.success, result.result, result.error, result.error_kind

    assert await ask("plain") == (True, {"n": 2}, None, None)
    assert await ask("in_a_thread") == (False, {"seen": 1}, "as a dict", None)
    assert await ask("wrong") == (False, {"path": "x"}, "no such file", "invalid_input")
    assert await ask("broken") == (False, {}, "KeyError: 'missing'", None)
    assert await ask("exits") == (False, {}, "SystemExit: 3", None)
    assert await ask("cancels_itself") == (False, {}, "the tool cancelled itself", "other")
    success, _, error, kind = await ask("unwritable")
    assert (success, kind) == (False, "other")
    assert "cannot be written" in error
    success, _, error, kind = await ask("nobody_has_it")
    assert (success, kind) == (False, "unknown_command")
    assert error.startswith("Unknown command type: nobody_has_it; this worker has broken, cancels")


async def test_a_task_that_asks_for_it_has_another_attempt_until_none_is_left(
    fleet: Fleet,
) -> None:
    async def third_time(task: ExternalTask) -> int:
        if task.attempt < 3:
            raise Retry("not yet")
        return task.attempt

    async def never(task: ExternalTask) -> None:
        raise RetryAfter("still busy", 0.01)

    await fleet.worker({"third_time": third_time, "never": never})
    session = await fleet.session("s")
    soon = RetryPolicy(strategy="fixed", max_retries=3, delay_ms=10)
    for effect in Effect:
        task = Task("third_time", effect=effect, retry=soon)
        result = await (await session.submit("Query", task))
        assert (result.result, result.attempt) == (3, 3), effect
    result = await (await session.submit("Query", Task("never", {"x": 1}, retry=soon)))
    assert result.outcome is Outcome.DEAD_LETTERED
    assert result.error == "still busy (attempt 4 of 4); kept among the dead letters"
    [letter] = await session.dead_letters()
    assert [note.attempt for note in letter.history] == [1, 2, 3]
    assert (letter.attempts, letter.payload) == (4, {"x": 1})


async def test_a_rejected_task_is_a_dead_letter_that_can_be_replayed(fleet: Fleet) -> None:
    good = False

    async def fussy(task: ExternalTask) -> str:
        if not good:
            raise Reject("not with me")
        return "now"

    await fleet.worker({"fussy": fussy})
    session = await fleet.session("s")
    handle = await session.submit("Query", Task("fussy"))
    assert (await handle).outcome is Outcome.DEAD_LETTERED
    good = True
    status, out, err = await fleet.coordinator("dlq", "replay", handle.task_id)
    assert status == 0, out + err
    result = await until("a second result", lambda: session.result(handle.task_id))
    assert (result.result, result.attempt) == ("now", 1)


async def test_a_tool_is_stopped_at_its_deadline_and_what_it_has_is_kept(fleet: Fleet) -> None:
    async def patient(task: ExternalTask) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return {"half": "of it"}

    def thread(task: ExternalTask) -> Any:
        while not task.is_stopped():
            time.sleep(0.01)
        return {"half": "of it"}

    await fleet.worker({"patient": patient, "thread": thread})
    session = await fleet.session()
    for tool in ("patient", "thread"):
        result = await (await session.submit("Query", Task(tool, timeout_ms=300)))
        assert result.outcome is Outcome.TIMED_OUT, result
        assert result.error == "timed out after 300 ms"
        assert result.worker_id not in ("", "coordinator")
        assert result.result == {"half": "of it"}


async def test_a_running_task_is_cancelled_and_a_queued_one_never_starts(fleet: Fleet) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def wait(task: ExternalTask) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    await fleet.worker({"wait": wait}, concurrency=1)
    session = await fleet.session("s")
    running = await session.submit("Query", Task("wait"))
    await started.wait()
    started.clear()
    queued = await session.submit("Query", Task("wait"))
    broker = await fleet.broker()

    async def is_queued() -> bool:
        return await fleet.tasks_left() == 2

    await until("the second task in the queue", is_queued)
    await mark_cancelled(broker, "s", queued.task_id, "not needed", clock.now_ms() + 60_000)
    await session.cancel(running.task_id)
    assert (await running).outcome is Outcome.CANCELLED
    assert (await queued).outcome is Outcome.CANCELLED
    assert stopped.is_set()
    assert not started.is_set(), "a cancelled task was started"


async def test_a_once_task_with_an_open_claim_is_unknown_and_is_not_started(fleet: Fleet) -> None:
    started: list[str] = []

    async def touch(task: ExternalTask) -> str:
        started.append(task.task_id)
        return "touched"

    session = await fleet.session("s")
    broker = await fleet.broker()
    deadline = clock.now_ms() + 60_000
    claim = TaskRecord(claim=Claim("gone", 1, 7))
    # A claim that a first delivery does not look for, but cannot be written over.
    await write_record(broker, "s", "claimed", claim, 0, deadline)
    await fleet.worker({"touch": touch})
    lost = await session.submit("Execute", Task("touch", id="claimed"))
    ran = await session.submit("Execute", Task("touch", id="mine"))
    assert (await ran).result == "touched"
    unknown = await lost
    assert (unknown.outcome, unknown.result["claimed_by"]) == (Outcome.UNKNOWN, "gone")
    assert started == ["mine"]
    record, revision = await read_record(broker, "s", "mine")
    assert revision > 0
    assert record.claim is not None


async def test_a_late_task_is_not_started_and_one_without_attempts_is_buried(fleet: Fleet) -> None:
    async def echo(task: ExternalTask) -> Any:
        return task.payload

    session = await fleet.session("s")
    broker = await fleet.broker()
    body = json.dumps({"command_type": "echo", "payload": 1}).encode()
    late = {"A3s-Deadline": "1", "A3s-Reply-To": "a3s.s.result.late"}
    await broker.publish("a3s.s.query", body, late)
    none = {"A3s-Max-Attempts": "0", "A3s-Reply-To": "a3s.s.result.one"}
    await broker.publish("a3s.s.query", body, none)
    await fleet.worker({"echo": echo})
    result = await _result(broker, "s", "late")
    assert (result.outcome, result.attempt) == (Outcome.TIMED_OUT, 0)
    # No attempts at all makes no sense, and counts as one.
    assert (await _result(broker, "s", "one")).result == 1
    assert await session.dead_letters() == []


async def test_what_cannot_be_read_is_buried_with_the_reason_and_answered(fleet: Fleet) -> None:
    async def echo(task: ExternalTask) -> Any:
        return task.payload

    session = await fleet.session("s")
    broker = await fleet.broker()
    await fleet.worker({"echo": echo})
    bad = {
        "nonsense": b"\xc1",
        "trailing": b'{"command_type":"echo"} x',
        "nothing": b"{}",
        "other-session": b'{"command_type":"echo","session_id":"x"}',
        "deep": b'{"command_type":"echo","payload":' + b"[" * 200 + b"]" * 200 + b"}",
        "no-utf8": b'{"command_type":"\xff"}',
        "surrogate": b'{"command_type":"echo","payload":"\\ud800"}',
    }
    for name, body in bad.items():
        await broker.publish("a3s.s.query", body, {"A3s-Reply-To": f"a3s.s.result.{name}"})
    await broker.publish(
        "a3s.s.query", b"", {"A3s-Blob": "sha256-00.x", "A3s-Reply-To": "a3s.s.result.blob"}
    )
    for name in (*bad, "blob"):
        result = await _result(broker, "s", name)
        assert result.outcome is Outcome.DEAD_LETTERED, name
        assert "the task cannot be read: " in (result.error or ""), name
    letters = await session.dead_letters()
    assert {letter.task_id for letter in letters} == {*bad, "blob"}


async def test_the_shortest_client_and_every_way_to_name_a_field_work(fleet: Fleet) -> None:
    async def echo(task: ExternalTask) -> Any:
        names = [task.command_type, task.commandType, task["commandType"], task["command_type"]]
        ids = [task.id, task.taskId, task["id"], task["task_id"], task.get("taskId")]
        assert "nothing" not in task
        assert task.get("nothing", 7) == 7
        return {"names": names, "ids": ids, "path": task.payload["path"], "ms": task["timeoutMs"]}

    await fleet.worker({"echo": echo})
    session = await fleet.session("s")
    broker = await fleet.broker()
    bodies = [
        {"command_type": "echo", "payload": {"path": "a"}, "task_id": "x1", "timeout_ms": 5000},
        {"commandType": "echo", "payload": {"path": "a"}, "taskId": "x2", "timeoutMs": 5000},
        {"command_type": "echo", "payload": {"path": "a"}, "id": "x3", "new": 1, "lane": "query"},
    ]
    for body in bodies:
        await broker.publish("a3s.s.query", json.dumps(body).encode(), {})
    for name in ("x1", "x2", "x3"):
        result = await _result(broker, "s", name)
        assert result.success, result.error
        assert result.result["names"] == ["echo"] * 4
        assert result.result["ids"] == [name] * 5
    assert session.route.pool == "default"


async def test_large_bodies_go_through_the_object_store_and_are_removed(fleet: Fleet) -> None:
    async def echo(task: ExternalTask) -> Any:
        return task.payload

    await fleet.worker({"echo": echo})
    large = {"text": "žluť" * 300_000}
    for encoding in Encoding:
        session = await fleet.session(encoding=encoding)
        result = await (await session.submit("Query", Task("echo", large)))
        assert result.result == large
    broker = await fleet.broker()
    store = await broker.client.jetstream().object_store("a3s_blobs")

    async def only_results() -> bool:
        names = [entry.name or "" for entry in await store.list(ignore_deletes=True)]
        return len(names) == 2 and all(name.endswith("-result") for name in names)

    await until("the bodies of the tasks are gone", only_results)


async def test_a_task_that_has_ended_is_not_buried_because_its_body_is_gone(fleet: Fleet) -> None:
    """Its worker stored the result, acknowledged, and removed the body, while the broker delivered
    the task once more."""
    deliveries: list[int] = []
    gate = asyncio.Event()

    async def hold(task: ExternalTask) -> str:
        deliveries.append(task.attempt)
        await gate.wait()
        return "mine"

    worker, running = await fleet.worker({"hold": hold}, drain=0)
    session = await fleet.session("s")
    large = Task("hold", {"text": "x" * 400_000}, id="large")
    handle = await session.submit("Query", large)

    async def started() -> bool:
        return len(deliveries) == 1

    await until("the task is started", started)
    # What another worker would have done meanwhile.
    broker = await fleet.broker()
    other = TaskResult("large", "s", SessionLane.QUERY, "hold", True, "other", worker_id="other")
    assert await publish_result(broker, other, Encoding.JSON)
    store = await broker.client.jetstream().object_store("a3s_blobs")
    [entry] = await store.list(ignore_deletes=True)
    assert entry.name is not None
    await remove_blob(broker, entry.name)
    worker.stop()  # hands the task back at once
    await running
    await fleet.worker({"hold": hold})

    async def acknowledged() -> bool:
        return await fleet.tasks_left() == 0

    await until("the task is acknowledged", acknowledged)
    assert (await handle).result == "other"
    assert await session.dead_letters() == []
    assert deliveries == [1]


async def test_a_task_that_names_a_workspace_is_refused_and_not_run_elsewhere(fleet: Fleet) -> None:
    calls: list[str] = []

    async def read(task: ExternalTask) -> str:
        calls.append(task.task_id)
        return "a file of another tree"

    await fleet.worker({"read": read})
    broker = await fleet.broker()
    body = json.dumps({"command_type": "read", "task_id": "w"}).encode()
    await broker.publish("a3s.s.query", body, {"A3s-Workspace": "00" * 32})
    result = await _result(broker, "s", "w")
    assert (result.success, result.error_kind, calls) == (False, "refused", [])
    assert "--sync" in (result.error or "")


async def test_a_lane_above_is_served_first(fleet: Fleet) -> None:
    order: list[str] = []

    async def note(task: ExternalTask) -> None:
        order.append(task.lane.id)

    config = SessionQueueConfig(8, 8, 8, 8)
    session = await fleet.session(config=config)
    lanes = ["Generate", "Execute", "Query", "Control"]
    handles = [await session.submit(lane, Task("note")) for lane in lanes for _ in range(5)]

    async def all_queued() -> bool:
        return await fleet.tasks_left() == 20

    await until("all tasks in the queue", all_queued)
    await fleet.worker({"note": note}, concurrency=1)
    await asyncio.gather(*handles)
    assert order == [lane.lower() for lane in reversed(lanes) for _ in range(5)]


async def test_progress_and_events_are_seen_and_nothing_is_left(fleet: Fleet) -> None:
    async def chatty(task: ExternalTask) -> str:
        for n in range(3):
            task.progress(f"line {n}\n")
        return "done"

    await fleet.worker({"chatty": chatty})
    session = await fleet.session("s")
    broker = await fleet.broker()
    output = await broker.client.subscribe("a3s.s.output.*")
    await broker.client.flush()
    events = session.events()
    handle = await session.submit("Query", Task("chatty"))
    assert (await handle).result == "done"
    pieces = [await output.next_msg(timeout=60) for _ in range(3)]
    assert b"".join(piece.data for piece in pieces) == b"line 0\nline 1\nline 2\n"
    assert [(piece.headers or {})["A3s-Chunk"] for piece in pieces] == ["1", "2", "3"]
    kinds = [(await asyncio.wait_for(anext(events), 60)).kind for _ in range(3)]
    # Two processes tell them, so nobody promises which of the first two comes first.
    assert set(kinds) == {f"queue.command.{kind}" for kind in ("submitted", "started", "completed")}

    async def nothing_left() -> bool:
        return await fleet.tasks_left() == 0

    await until("an empty queue", nothing_left)


async def test_a_claim_outlives_the_hand_back_of_a_task_that_nobody_here_started(
    fleet: Fleet,
) -> None:
    """A worker without a free slot gives a surplus delivery back; the claim in its record is that
    of the worker that started it, and must stay."""
    started: list[str] = []
    gate = asyncio.Event()

    async def hold(task: ExternalTask) -> None:
        started.append(task.task_id)
        await gate.wait()

    session = await fleet.session("s")
    broker = await fleet.broker()
    record = TaskRecord(claim=Claim("gone", 1, 7))
    await write_record(broker, "s", "claimed", record, 0, clock.now_ms() + 60_000)
    worker, _ = await fleet.worker({"hold": hold}, concurrency=1)

    async def both_lanes_are_asked() -> bool:
        call = "CONSUMER.INFO.A3S_TASKS.pool-default-"
        infos = [await broker.call(call + lane) for lane in ("query", "execute")]
        return all(info["num_waiting"] == 1 for info in infos)

    # Both lanes have a waiting pull, so that the second task is one more than there is room for.
    await until("waiting pulls at both lanes", both_lanes_are_asked)
    first = await session.submit("Query", Task("hold", id="first"))
    second = await session.submit("Execute", Task("hold", id="claimed"))

    async def handed_back() -> bool:
        record, _ = await read_record(broker, "s", "claimed")
        assert record.claim is not None, "the claim was lost"
        return record.handed_back > 0

    await until("the second task is handed back", handed_back)
    gate.set()
    assert (await first).success
    assert (await second).outcome is Outcome.UNKNOWN
    assert started == ["first"]
    assert worker.id


async def test_whether_a_task_has_a_result_can_be_asked_without_reading_it(fleet: Fleet) -> None:
    broker = await fleet.broker()
    await ensure(broker, fleet.settings)
    await broker.publish("a3s.s.result.t1", b"{}", {})
    assert await broker.holds("a3s.s.result.t1", "a3s._.result._")
    assert not await broker.holds("a3s.s.result.t2", "a3s._.result._")
    stored = [m.subject for m in await held(broker, "A3S_RESULTS", "a3s.*.result.*")]
    assert stored == ["a3s.s.result.t1"]
