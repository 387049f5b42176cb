"""Python and Rust together: each one's caller with the other one's worker."""

import asyncio
import json

import pytest
from conftest import Fleet

from a3s_worker import Encoding, ExternalTask, Outcome, Task, Worker
from a3s_worker.broker import BrokerError


async def test_a_rust_caller_gets_what_a_python_worker_answers(fleet: Fleet) -> None:
    await fleet.worker_process("py")
    for encoding in ("msgpack", "json"):
        payload = json.dumps({"text": "žluťoučký 🦀", "n": [1, 2.5, None, 1 << 63]})
        status, out, err = await fleet.coordinator(
            "submit", "--json", "--encoding", encoding, "--lane", "query", "echo", payload
        )
        assert status == 0, err
        answer = json.loads(out)
        assert answer["result"] == json.loads(payload)
        assert answer["worker_id"] == "py"
    status, _, err = await fleet.coordinator("submit", "no_such_tool", "{}")
    assert status == 1
    assert "Unknown command type: no_such_tool; this worker has block, echo" in err
    large = fleet.directory / "large.json"
    large.write_text(json.dumps({"text": "x" * 1_000_000}))
    arguments = ("submit", "--json", "--lane", "query", "echo", f"@{large}")
    status, out, err = await fleet.coordinator(*arguments)
    assert status == 0, err
    assert len(json.loads(out)["result"]["text"]) == 1_000_000
    status, out, _ = await fleet.coordinator("workers")
    assert "py" in out


async def test_a_python_caller_gets_what_a_rust_worker_answers(fleet: Fleet) -> None:
    await fleet.rust_worker("rs")
    (fleet.directory / "file.txt").write_text("one\ntwo\n")
    for encoding in Encoding:
        session = await fleet.session(encoding=encoding)
        read = await (await session.submit_by_tool("read", {"path": "file.txt"}))
        assert (read.result["content"], read.worker_id) == ("one\ntwo\n", "rs")
        bash = await (await session.submit_by_tool("bash", {"command": "echo hi; exit 3"}))
        assert (bash.success, bash.result["exit_code"]) == (False, 3)
        slow = Task("bash", {"command": "echo begun; sleep 60"}, timeout_ms=500)
        late = await (await session.submit("Execute", slow))
        assert late.outcome is Outcome.TIMED_OUT
        big = await (await session.submit("Query", Task("read", {"path": "x" * 400_000})))
        assert not big.success


async def test_workers_of_both_languages_share_the_own_lanes_of_a_session(fleet: Fleet) -> None:
    await fleet.worker_process("py", "both.py", SESSION_ID="shared")
    await fleet.rust_worker("rs", "--session-id", "shared")
    (fleet.directory / "file.txt").write_text("x")
    session = await fleet.session("shared", own=True)
    payload = {"path": str(fleet.directory / "file.txt")}
    seen: set[str] = set()
    for _ in range(100):
        handles = [await session.submit_by_tool("read", payload) for _ in range(20)]
        results = await asyncio.gather(*handles)
        assert {r.result["content"] for r in results} == {"x"}
        seen |= {r.worker_id for r in results}
        if seen == {"py", "rs"}:
            return
    raise AssertionError(f"only {seen} had tasks")


async def test_a_python_worker_serves_pools_with_a_policy(fleet: Fleet) -> None:
    async def echo(task: ExternalTask) -> object:
        return task.payload

    for pool, policy in (("web", "near"), ("night", "overflow")):
        status, _, err = await fleet.coordinator("pool", pool, "--policy", policy)
        assert status == 0, err
    await fleet.worker({"echo": echo}, pool="web", worker_id="last")
    await fleet.worker({"echo": echo}, pool="web", worker_id="near", distance=2)
    await fleet.worker({"echo": echo}, pool="night", worker_id="helper", help_when=1)
    for pool in ("web", "night"):
        submit = ("submit", "--json", "--pool", pool, "--lane", "query", "echo", "1")
        status, out, err = await fleet.coordinator(*submit)
        assert status == 0, err
        assert json.loads(out)["result"] == 1
    status, out, err = await fleet.coordinator("pool", "web", "--json")
    assert status == 0, err
    workers = json.loads(out)["workers"]
    assert [(w["worker_id"], w["distance"]) for w in workers] == [("near", "2"), ("last", None)]

    helper = Worker(nats_url=fleet.server.url, pool="web", help_when=3)
    helper.tool("echo")(echo)
    with pytest.raises(BrokerError, match="pool web --policy overflow"):
        await helper.run()
