"""What is left when a worker, or the broker, dies or freezes in the middle."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

from conftest import Fleet, until

from a3s_worker import Effect, ExternalTask, Outcome, RetryPolicy, Task


def _files(fleet: Fleet) -> tuple[Path, Path, dict[str, str]]:
    """A trace, a gate that is closed, and the payload that names them."""
    trace, gate = fleet.directory / "trace", fleet.directory / "gate"
    trace.touch()
    return trace, gate, {"trace": str(trace), "gate": str(gate)}


async def _lines(path: Path, what: str, count: int = 1) -> list[list[str]]:
    async def seen() -> list[list[str]]:
        lines = [line.split() for line in path.read_text().splitlines()]
        found = [line for line in lines if line[0] == what]
        return found if len(found) >= count else []

    lines: list[list[str]] = await until(f"{count} × {what} in the trace", seen)
    return lines


async def test_a_killed_worker_does_not_lose_its_task(fleet: Fleet) -> None:
    trace, gate, payload = _files(fleet)
    first = await fleet.worker_process("first")
    session = await fleet.session()
    handle = await session.submit("Query", Task("wait", payload))
    await _lines(trace, "started")
    first.kill()
    gate.touch()
    await fleet.worker_process("second")
    result = await handle
    assert (result.result, result.attempt) == ("second", 2)


async def test_a_once_task_of_a_killed_worker_is_unknown_and_is_not_started_again(
    fleet: Fleet,
) -> None:
    trace, _, payload = _files(fleet)
    first = await fleet.worker_process("first")
    session = await fleet.session()
    handle = await session.submit("Execute", Task("wait", payload))
    await _lines(trace, "started")
    first.kill()
    await fleet.worker_process("second")
    result = await handle
    assert (result.outcome, result.worker_id) == (Outcome.UNKNOWN, "second")
    assert result.result["claimed_by"] == "first"
    assert len(await _lines(trace, "started")) == 1


async def test_a_frozen_worker_stops_its_tool_and_cannot_change_the_outcome(fleet: Fleet) -> None:
    trace, gate, payload = _files(fleet)
    first = await fleet.worker_process("first")
    session = await fleet.session()
    handle = await session.submit("Query", Task("block", payload))
    await _lines(trace, "started")
    first.send_signal(signal.SIGSTOP)
    await fleet.worker_process("second")
    # The broker may deliver it to the frozen worker once more before the second one has it.
    [_, again] = await _lines(trace, "started", 2)
    assert again[2] == "second"
    first.send_signal(signal.SIGCONT)
    [stopped, *_] = await _lines(trace, "stopped")
    assert stopped == ["stopped", "1", "first"]
    gate.touch()
    result = await handle
    assert result.success
    assert result.attempt > 1


async def test_a_drain_finishes_what_runs_and_hands_back_the_rest_unharmed(fleet: Fleet) -> None:
    trace, gate, payload = _files(fleet)
    other = fleet.directory / "other-gate"
    first = await fleet.worker_process("first", A3S_DRAIN="5")
    session = await fleet.session()
    short = await session.submit("Query", Task("wait", payload))
    long = await session.submit("Query", Task("wait", {**payload, "gate": str(other)}))
    once = await session.submit("Execute", Task("wait", {**payload, "gate": str(other)}))
    await _lines(trace, "started", 3)
    first.terminate()
    gate.touch()
    assert (await short).result == "first"
    assert (await once).outcome is Outcome.UNKNOWN
    await asyncio.to_thread(first.wait)
    assert first.returncode == 0
    other.touch()
    await fleet.worker_process("second")
    result = await long
    assert (result.result, result.attempt) == ("second", 1), "a drain costs no attempt"
    broker = await fleet.broker()
    heartbeat = await broker.last("KV_a3s_workers", "$KV.a3s_workers.first")
    assert heartbeat is None or heartbeat.headers.get("KV-Operation") == "DEL"


async def test_a_lease_is_renewed_for_as_long_as_a_tool_runs(fleet: Fleet) -> None:
    starts: list[int] = []

    async def slow(task: ExternalTask) -> str:
        starts.append(task.attempt)
        await asyncio.sleep(3 * fleet.settings.ack_wait)
        return "done"

    await fleet.worker({"slow": slow})
    session = await fleet.session()
    result = await (await session.submit("Query", Task("slow")))
    assert (result.result, starts) == ("done", [1])


async def test_a_broker_that_was_killed_loses_nothing(fleet: Fleet) -> None:
    starts: Counter[str] = Counter()
    gate = asyncio.Event()

    async def work(task: ExternalTask) -> str:
        starts[task.task_id] += 1
        await gate.wait()
        return task.task_id

    await fleet.worker({"work": work}, concurrency=4)
    session = await fleet.session()
    handles = [await session.submit("Query", Task("work")) for _ in range(8)]

    async def four_run() -> bool:
        return len(starts) == 4

    await until("four tasks run", four_run)
    fleet.server.kill()
    fleet.server.start()
    gate.set()
    results = await asyncio.gather(*handles)
    assert [r.result for r in results] == [h.task_id for h in handles]


async def test_a_task_that_kills_every_worker_is_buried_in_the_end(fleet: Fleet) -> None:
    trace, _, payload = _files(fleet)
    session = await fleet.session()
    policy = RetryPolicy(max_retries=2)
    task = Task("wait", payload, effect=Effect.IDEMPOTENT, retry=policy, timeout_ms=300_000)
    handle = await session.submit("Execute", task)
    for n in range(3):
        worker = await fleet.worker_process(f"w{n}")
        await _lines(trace, "started", n + 1)
        worker.kill()
    await fleet.worker_process("last")
    result = await handle
    assert (result.outcome, result.worker_id) == (Outcome.DEAD_LETTERED, "last")
    assert len(await _lines(trace, "started")) == 3
