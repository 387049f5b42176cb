"""What a worker and a caller do, and are told, with the keys that `a3s-coordinator init` writes: a
real server with its configuration, worker processes with its files, the Rust coordinator."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from conftest import until
from installation import Installation

from a3s_worker import DeniedError, Outcome, Session, SessionQueueConfig, SubmitError, Task
from a3s_worker.broker import ConnectOptions, connect
from a3s_worker.broker.blobs import get_blob, put_blob, remove_blob
from a3s_worker.broker.follow import held
from a3s_worker.broker.kept import (
    find_marker,
    find_result,
    has_result,
    mark_cancelled,
    publish_result,
    read_record,
)
from a3s_worker.wire import clock
from a3s_worker.wire.encoding import Encoding
from a3s_worker.wire.lane import SessionLane
from a3s_worker.wire.result import TaskResult

AT_ONCE = 4.0
"""Less than a request waits for an answer: who is told later was not told at once."""


class Installations:
    """Makes them, and ends them with the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.made: list[Installation] = []

    async def __call__(
        self, *options: str, without: str = "", streams: bool = True
    ) -> Installation:
        made = Installation(self._directory, without, options)
        self.made.append(made)
        if streams:
            await made.create_streams()
        return made


@pytest.fixture
async def install(tmp_path: Path) -> AsyncIterator[Installations]:
    installations = Installations(tmp_path)
    yield installations
    for made in installations.made:
        await made.end()


async def _has(path: Path, text: str) -> None:
    async def seen() -> bool:
        return path.exists() and text in path.read_text()

    await until(f"{text!r} in {path.name}", seen)


async def test_a_worker_of_a_pool_does_its_whole_work_with_its_key(install: Installations) -> None:
    here = await install()
    admin = await here.broker("coordinator")
    told: list[str] = []

    async def note(message: Any) -> None:
        told.append(f"{message.subject} {message.data.decode()}")

    for subject in ("a3s.s.event.>", "a3s.s.output.*"):
        await admin.client.subscribe(subject, cb=note)
    await admin.client.flush()
    await here.worker("worker-pool-default", "py")

    # A result; a large body there and a large one back, which is read, and the task's is removed.
    large = here.directory / "large.json"
    large.write_text(json.dumps({"text": "žluť" * 100_000}))
    echo = ("submit", "--session", "s", "--lane", "query", "echo", f"@{large}")
    result = await here.done("coordinator", *echo)
    assert result["result"] == json.loads(large.read_text())
    assert result["worker_id"] == "py"
    chunks = await held(admin, "OBJ_a3s_blobs", "$O.a3s_blobs.C.*")
    left = {chunk.subject for chunk in chunks if chunk.body}
    assert len(left) == 1, "the task's body is gone, the result's is kept"

    # A task that may start once is claimed.
    result = await here.submit("s", "echo", {"n": 1}, "--lane", "execute", "--id", "once")
    assert result["result"] == {"n": 1}
    record, _ = await read_record(admin, "s", "once")
    assert record.claim is not None
    assert record.claim.worker_id == "py"

    # One that fails is tried again, and one that never can is buried.
    result = await here.submit("s", "later", {}, "--lane", "query")
    assert (result["result"], result["attempt"]) == (3, 3)
    result = await here.submit("s", "refuse", {}, "--lane", "query", "--id", "never")
    assert result["error_kind"] == "dead_lettered"
    letters = await here.done("coordinator", "dlq", "ls", "--session", "s")
    assert "never" in json.dumps(letters)

    # What it tells is heard.
    result = await here.submit("s", "tell", {}, "--lane", "query")
    assert result["result"] == "told"

    async def heard() -> bool:
        return any("output" in line and "halfway" in line for line in told)

    await until("the output", heard)
    for kind in ("started", "retry", "dead_lettered", "completed"):
        assert any(f"queue.command.{kind}" in line for line in told), kind

    # Its heartbeat is seen.
    assert '"py"' in json.dumps(await here.done("coordinator", "workers"))
    # It asked for nothing that it may not do, but whether a task that comes again has a result:
    # then in the way that needs no right to read results. Its log says nothing of that.
    assert [line for line in here.violations() if "DIRECT.GET.A3S_RESULTS.a3s.s." not in line] == []
    assert len(here.violations()) == 2
    assert " may not " not in here.said_by("py").read_text()


async def test_a_worker_hears_of_cancels_with_its_key(install: Installations) -> None:
    here = await install()
    admin = await here.broker("coordinator")
    trace, gate = here.directory / "trace", here.directory / "gate"
    payload = json.dumps({"trace": str(trace), "gate": str(gate)})

    # Each in a session of its own: a caller lets no more of one run than the fleet has slots.
    def submit(task_id: str) -> "asyncio.Task[tuple[int, str, str]]":
        arguments = ("submit", "--session", task_id, "--lane", "query", "--id", task_id, "wait")
        return asyncio.create_task(here.run("coordinator", *arguments, payload, "--json"))

    async def cancel(task_id: str) -> None:
        await mark_cancelled(admin, task_id, task_id, "not needed", clock.now_ms() + 60_000)

    async def queued(count: int) -> None:
        async def there() -> bool:
            state = (await admin.call("STREAM.INFO.A3S_TASKS"))["state"]
            return bool(state["messages"] == count)

        await until(f"{count} tasks in the stream", there)

    # The marker is kept before there is a worker; it reads it when it starts.
    before = submit("before")
    await queued(1)
    await cancel("before")
    await here.worker("worker-pool-default", "py", TEST_SLOTS="1")
    _, out, err = await before
    assert json.loads(out)["error"] == "cancelled before it was started: not needed", err
    # One runs and one waits for the slot.
    runs = submit("runs")
    await _has(trace, "started")
    waits = submit("waits")
    await queued(2)
    await cancel("waits")
    await cancel("runs")
    _, out, err = await runs
    assert json.loads(out)["error"] == "cancelled while it ran", err
    _, out, err = await waits
    assert json.loads(out)["error"] == "cancelled before it was started: not needed", err
    assert trace.read_text().count("started") == 1
    assert here.violations() == []


async def test_what_a_killed_worker_had_goes_to_another_with_the_same_key(
    install: Installations,
) -> None:
    here = await install()
    trace, gate = here.directory / "trace", here.directory / "gate"
    first = await here.worker("worker-pool-default", "first")
    payload = {"trace": str(trace), "gate": str(gate)}
    task = asyncio.create_task(here.submit("s", "wait", payload, "--lane", "query"))
    await _has(trace, "started 1 first")
    first.kill()
    gate.touch()
    await here.worker("worker-pool-default", "second")
    result = await task
    assert (result["result"], result["attempt"]) == ("second", 2)
    assert " may not " not in here.said_by("second").read_text()


async def test_a_worker_of_a_session_works_with_its_key_and_no_other_session(
    install: Installations,
) -> None:
    here = await install("--session", "alice", "--session", "bob")
    await here.worker("worker-session-alice", "py")
    alice = "coordinator-session-alice"
    submit = ("submit", "--own", "--session", "alice")
    result = await here.done(alice, *submit, "--lane", "query", "echo", '{"n": 1}')
    assert (result["result"], result["worker_id"]) == ({"n": 1}, "py")
    result = await here.done(alice, *submit, "--lane", "execute", "echo", '{"n": 2}')
    assert result["result"] == {"n": 2}
    trace, gate = here.directory / "trace", here.directory / "gate"
    payload = json.dumps({"trace": str(trace), "gate": str(gate)})
    wait = (*submit, "--lane", "query", "--id", "runs", "wait", payload)
    runs = asyncio.create_task(here.run(alice, *wait, "--json"))
    await _has(trace, "started")
    status, _, err = await here.run(alice, "task", "cancel", "--session", "alice", "runs")
    _, out, _ = await runs
    assert json.loads(out)["error_kind"] == "cancelled", (status, err)
    # The coordinator asks for some of what it may not do; the worker for nothing.
    assert " may not " not in here.said_by("py").read_text()
    assert not [line for line in here.violations() if "python" in line.lower()]

    said = await here.ends("worker-session-alice", "other", SESSION_ID="bob")
    for text in ("keys/worker-session-alice.nk is not enough for this worker", "own-bob-"):
        assert text in said


async def test_each_lane_has_a_key_and_no_other_lane_is_served_with_it(
    install: Installations,
) -> None:
    here = await install("--pool", "eu", "--lanes", "query,execute")
    for lane in ("query", "execute"):
        # The first one makes the consumer of its lane itself.
        await here.worker(f"worker-pool-eu.{lane}", lane)
    for lane in ("query", "execute"):
        result = await here.submit("s", "echo", {}, "--pool", "eu", "--lane", lane)
        assert result["worker_id"] == lane
        assert " may not " not in here.said_by(lane).read_text()
        result = await here.submit("s", "refuse", {}, "--pool", "eu", "--lane", lane)
        assert result["error_kind"] == "dead_lettered"

    greedy = "worker-pool-eu.query"
    said = await here.ends(greedy, "greedy", A3S_LANES="query,execute")
    for text in (
        "keys/worker-pool-eu.query.nk is not enough for this worker: serve lane execute",
        "--lanes",
        "not permitted to publish to $JS.API.CONSUMER.INFO.A3S_TASKS.pool-eu-execute",
        "a3s-coordinator doctor",
    ):
        assert text in said
    said = await here.ends(greedy, "elsewhere", A3S_POOL="default")
    assert "not permitted to publish to $JS.API.CONSUMER.INFO.A3S_TASKS.pool-default-" in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"a3s.*.result.*"', "store results: not permitted to publish to a3s.no-session.result."),
        ('"a3s.*.claim.*"', "claim tasks: not permitted to publish to a3s.no-session.claim."),
        ('"a3s.*.dlq.query.*"', "keep what it gives up in lane query: not permitted to publish"),
        ("MSG.NEXT.A3S_TASKS.pool-default-query", "pull tasks of lane query: not permitted"),
        ("CONSUMER.CREATE.A3S_CANCELS", "follow a3s.*.cancel.*: not permitted to publish to"),
    ],
)
async def test_a_worker_whose_key_is_not_enough_says_so_before_its_first_task(
    install: Installations, line: str, said: str
) -> None:
    here = await install(without=line)
    told = await here.ends("worker-pool-default", "py")
    assert f"keys/worker-pool-default.nk is not enough for this worker: {said}" in told


async def test_who_may_not_create_the_streams_is_told_who_may(install: Installations) -> None:
    here = await install("--session", "alice", streams=False)
    for role in ("worker-pool-default", "worker-session-alice"):
        said = await here.ends(role, role)
        assert "(a coordinator for all sessions may, started once): not permitted" in said
    with pytest.raises(DeniedError, match=r"create stream A3S_.* started once\): not permitted"):
        async with Session("alice", options=here.options("coordinator-session-alice")):
            pass


async def test_a_key_without_its_inbox_is_told_how_to_name_it(install: Installations) -> None:
    here = await install()
    key = here.settings("worker-pool-default")["NATS_NKEY"]
    [seed] = [line for line in Path(key).read_text().splitlines() if line.startswith("SU")]
    bare = here.directory / "bare.nk"
    bare.write_text(seed)
    said = await here.ends(
        "worker-pool-default", "deaf", NATS_NKEY=str(bare), A3S_INBOX_PREFIX="_INBOX"
    )
    for text in ("bare.nk is not enough", "not permitted to subscribe to _INBOX.", "INBOX_PREFIX"):
        assert text in said
    # Either names it: the key's file, or the environment. Nothing asks by another inbox.
    await here.worker("worker-pool-default", "by-file", A3S_INBOX_PREFIX="")
    await here.worker("worker-pool-default", "by-name", NATS_NKEY=str(bare))
    inbox = "_INBOX_worker-pool-default"
    broker = await connect(ConnectOptions(here.server.url, nkey=key), "test")
    here.exits.push_async_callback(broker.close)
    assert broker.client.new_inbox().startswith(f"{inbox}.")
    name = await put_blob(broker, b"x" * 300_000, "owner")
    assert await get_blob(broker, name) == b"x" * 300_000
    await remove_blob(broker, name)
    denied = [line for line in here.violations() if '"_INBOX.' not in line]
    assert denied == []


async def test_what_is_denied_ends_the_call_that_waited_at_once(install: Installations) -> None:
    here = await install()
    broker = await here.broker("worker-pool-default")
    admin = await here.broker("coordinator")
    began = time.monotonic()
    calls = ["STREAM.INFO.A3S_TASKS", "STREAM.INFO.A3S_TASKS", "STREAM.CREATE.A3S_TASKS"]
    ended = await asyncio.gather(*map(broker.call, calls), return_exceptions=True)
    for call, error in zip(calls, ended, strict=True):
        assert isinstance(error, DeniedError), error
        assert f"not permitted to publish to $JS.API.{call};" in str(error)
        assert "keys/worker-pool-default.nk" in str(error)
    for subject in ("a3s.s.query", "a3s.s.cancel.t", "$KV.a3s_sessions.s"):
        with pytest.raises(DeniedError, match="not permitted to publish to"):
            await broker.publish(subject, b"{}", {})
    for stream, subjects in (("A3S_RESULTS", "a3s.*.result.*"), ("A3S_TASKS", "a3s.*.query")):
        with pytest.raises(DeniedError, match=r"follow a3s\.\*"):
            await held(broker, stream, subjects)
    assert time.monotonic() - began < AT_ONCE
    # What is asked besides is answered, and what the key may is not touched.
    assert await find_marker(broker, "s", "t") is None
    result = TaskResult("t1", "s", SessionLane.QUERY, "echo", True, {})
    assert await publish_result(broker, result, Encoding.JSON)
    # It sees that there is one, and cannot read it.
    assert await has_result(broker, "s", "t1")
    assert not await has_result(broker, "s", "t2")
    with pytest.raises(DeniedError):
        await find_result(broker, "s", "t1")
    found = await find_result(admin, "s", "t1")
    assert found is not None
    assert found.success


async def test_a_caller_works_in_its_session_and_touches_no_other(
    install: Installations, caplog: pytest.LogCaptureFixture
) -> None:
    here = await install("--session", "alice", "--session", "bob")
    await here.worker("worker-pool-default", "py")
    options = here.options("coordinator-session-alice")
    config = SessionQueueConfig().with_external_lanes()
    trace, gate = here.directory / "trace", here.directory / "gate"
    files = {"trace": str(trace), "gate": str(gate)}
    async with Session("alice", options=options, config=config) as session:
        events = session.events()
        result = await (await session.submit("Query", Task("echo", {"n": 1}, id="t1")))
        assert (result.result, result.worker_id) == ({"n": 1}, "py")
        assert (await session.result("t1")) == result
        kinds = []
        async for event in events:
            kinds.append(event.kind)
            if event.kind == "queue.command.completed":
                break
        assert "queue.command.started" in kinds
        large = {"text": "x" * 400_000}
        assert (await (await session.submit("Execute", Task("echo", large)))).result == large
        buried = await (await session.submit("Query", Task("refuse", id="never")))
        assert buried.outcome is Outcome.DEAD_LETTERED
        assert [letter.task_id for letter in await session.dead_letters()] == ["never"]
        running = await session.submit("Query", Task("wait", files))
        await _has(trace, "started")
        assert (await session.queue_stats()).lanes["Query"].active == 1
        assert await session.cancel(running.task_id)
        assert (await running).outcome is Outcome.CANCELLED
        # The operator pauses it: it hears of its record.
        status, _, err = await here.run("coordinator", "session", "pause", "alice")
        assert status == 0, err

        async def paused() -> bool:
            return session._open_core.paused

        await until("the session is paused", paused)
    assert [line for line in here.violations() if "A3S_RESULTS" not in line] == []
    assert " may not " not in caplog.text

    # Its own workers' lanes: it makes the consumers itself.
    async with Session("alice", options=options, config=config, own=True) as session:
        await here.worker("worker-session-alice", "own")
        result = await (await session.submit("Query", Task("echo", 1)))
        assert result.worker_id == "own"
    assert [line for line in here.violations() if "A3S_RESULTS" not in line] == []

    # Another session is refused at once, by the key's name; so is a task without an answer.
    began = time.monotonic()
    with pytest.raises(DeniedError, match=r"keys/coordinator-session-alice\.nk is not enough"):
        async with Session("bob", options=options):
            pass
    broker = await here.broker("coordinator-session-alice")
    for subject in ("a3s.bob.query", "a3s.bob.cancel.t", "a3s.bob.result.t"):
        with pytest.raises(DeniedError, match=subject):
            await broker.publish(subject, b"{}", {})
    for stream, subjects in (("A3S_CANCELS", "a3s.bob.cancel.*"), ("A3S_DLQ", "a3s.*.dlq.*.*")):
        with pytest.raises(DeniedError):
            await held(broker, stream, subjects)
    assert time.monotonic() - began < AT_ONCE


async def test_a_task_that_a_callers_key_may_not_submit_fails_at_once(
    install: Installations,
) -> None:
    here = await install("--session", "alice", without='"a3s.alice.query"')
    options = here.options("coordinator-session-alice")
    config = SessionQueueConfig().with_external_lanes()
    async with Session("alice", options=options, config=config) as session:
        began = time.monotonic()
        handle = await session.submit("Query", Task("echo", {}))
        with pytest.raises(SubmitError, match=r"not permitted to publish to a3s\.alice\.query;"):
            await handle
        assert time.monotonic() - began < AT_ONCE


async def test_a_task_that_nobody_takes_is_answered_with_the_callers_key(
    install: Installations, caplog: pytest.LogCaptureFixture
) -> None:
    here = await install("--session", "alice")
    options = here.options("coordinator-session-alice")
    config = SessionQueueConfig().with_external_lanes()
    async with Session("alice", options=options, config=config) as session:
        began = time.monotonic()
        result = await (await session.submit("Query", Task("echo", {}, timeout_ms=200)))
        assert result.outcome is Outcome.TIMED_OUT
        # It may not remove the task, which is left to the coordinator; the grace is two seconds.
        assert time.monotonic() - began < 2.2 + AT_ONCE
    assert " may not " not in caplog.text
