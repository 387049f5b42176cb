"""What happens to calls while they run: progress, cancels, lost clients, lost workers."""

import http.client
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import anyio
import mcp_types as types
import pytest
from conftest import STDIO, Fleet, Way, children_of, eventually, runs, soon, text_of
from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim

pytestmark = pytest.mark.anyio

WAITS = "echo $$ > pid; echo begun; until [ -e go ]; do sleep 0.05; done; echo done"
"""Runs until the test says go, and says who it is."""


def pid_in(workspace: Path) -> int:
    file = workspace / "pid"
    return int(eventually("the command's pid", lambda: file.exists() and file.read_text()))


async def test_what_a_command_prints_is_heard_while_it_runs(fleet: Fleet, way: Way) -> None:
    fleet.worker()
    heard: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        heard.append(message or "")
        if "begun" in (message or ""):
            (fleet.workspace / "go").touch()  # it ends only because this was heard

    async with way.client(fleet) as client:
        result = await client.call_tool("bash", {"command": WAITS}, progress_callback=progress)
    assert text_of(result) == "begun\ndone\n"
    assert result.meta is not None
    assert result.meta["a3s/task"] in heard[0], "the first thing told is the task's id"


async def test_a_cancelled_call_ends_its_process_on_the_worker(fleet: Fleet, way: Way) -> None:
    fleet.worker()
    async with way.client(fleet) as client, anyio.create_task_group() as calls:
        calls.start_soon(client.call_tool, "bash", {"command": WAITS})
        file = fleet.workspace / "pid"
        pid = int(await soon("the pid", lambda: file.exists() and file.read_text()))
        assert runs(pid)
        calls.cancel_scope.cancel()
    await soon("the end of the process", lambda: not runs(pid))
    async with STDIO.client(fleet) as client:
        tasks = (await client.call_tool("fetch_result", {})).structured_content
        assert tasks is not None
        assert [task["status"] for task in tasks["tasks"]] == ["cancelled"]


async def test_a_call_whose_client_is_gone_goes_on_and_is_fetched_by_the_next(
    fleet: Fleet,
) -> None:
    fleet.worker()
    told: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with left_alone(fleet, progress) as client:
        await soon("the output", lambda: any("begun" in one for one in told))
        del client
    pid = pid_in(fleet.workspace)
    assert runs(pid), "the client is gone, and its process, and the call is not"
    async with STDIO.client(fleet) as client:
        listed = (await client.call_tool("fetch_result", {})).structured_content
        assert listed is not None
        (task,) = listed["tasks"]
        assert (task["tool"], task["status"]) == ("bash", "running")
        assert task["task_id"] in told[0]
        still = await client.call_tool("fetch_result", {"task_id": task["task_id"]})
        assert "is running" in text_of(still)
        (fleet.workspace / "go").touch()
        fetch = {"task_id": task["task_id"], "wait_seconds": 60}
        result = await client.call_tool("fetch_result", fetch)
        assert text_of(result) == "begun\ndone\n"
        assert not result.is_error


@asynccontextmanager
async def left_alone(fleet: Fleet, progress: Any) -> AsyncIterator[Client]:
    """A client whose door is killed, and that is then gone itself."""
    with anyio.CancelScope() as scope:
        async with (
            Client(fleet.stdio(), mode="legacy") as client,
            anyio.create_task_group() as calls,
        ):

            async def call() -> None:
                await client.call_tool("bash", {"command": WAITS}, progress_callback=progress)

            calls.start_soon(call)
            yield client
            for pid in children_of(os.getpid(), "a3s-coordinator"):
                os.kill(pid, signal.SIGKILL)
            calls.cancel_scope.cancel()
            scope.cancel()


async def test_a_client_that_closes_its_end_leaves_its_call_to_the_workers(fleet: Fleet) -> None:
    fleet.worker()
    async with Client(fleet.stdio(), mode="legacy") as client:
        calls = [{"tool": "bash", "arguments": {"command": WAITS}}]
        await client.call_tool("run_many", {"calls": calls, "wait_seconds": 0.1})
        pid = pid_in(fleet.workspace)
        assert children_of(os.getpid(), "a3s-coordinator")
    assert not children_of(os.getpid(), "a3s-coordinator"), "the door has ended"
    assert runs(pid)
    (fleet.workspace / "go").touch()
    async with STDIO.client(fleet) as client:
        listed = (await client.call_tool("fetch_result", {})).structured_content
        assert listed is not None
        fetch = {"task_id": listed["tasks"][0]["task_id"], "wait_seconds": 60}
        assert text_of(await client.call_tool("fetch_result", fetch)) == "begun\ndone\n"


async def test_more_calls_than_workers_are_kept_too_when_their_client_is_lost(fleet: Fleet) -> None:
    fleet.worker(slots=1)
    commands = [f"until [ -e go ]; do sleep 0.05; done; echo {n}" for n in range(6)]
    calls = [{"tool": "bash", "arguments": {"command": command}} for command in commands]
    async with Client(fleet.stdio(), mode="legacy") as client:
        result = await client.call_tool("run_many", {"calls": calls, "wait_seconds": 1})
        assert result.structured_content is not None
        ids = [one["task_id"] for one in result.structured_content["results"]]
        assert result.structured_content["running"] == 6
    (fleet.workspace / "go").touch()
    async with STDIO.client(fleet) as client:
        for n, task in enumerate(ids):
            fetch = {"task_id": task, "wait_seconds": 60}
            assert text_of(await client.call_tool("fetch_result", fetch)) == f"{n}\n"


async def test_a_connection_that_breaks_is_no_cancel_before_2026(fleet: Fleet) -> None:
    fleet.worker()
    process, url = fleet.http()
    hello = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    address = urlsplit(url)
    headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

    def post(**message: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=60)
        body = json.dumps({"jsonrpc": "2.0", **message})
        connection.request("POST", address.path, body, headers)
        return connection

    first = post(id=1, method="initialize", params=hello)
    headers["Mcp-Session-Id"] = first.getresponse().getheader("Mcp-Session-Id") or ""
    first.close()
    post(method="notifications/initialized").close()
    call = {"name": "bash", "arguments": {"command": WAITS}}
    broken = post(id=2, method="tools/call", params=call)
    pid = pid_in(fleet.workspace)
    broken.close()
    await anyio.sleep(1)  # a cancel would take less
    assert runs(pid)
    (fleet.workspace / "go").touch()
    async with Client(url) as client:

        async def statuses() -> list[str]:
            listed = (await client.call_tool("fetch_result", {})).structured_content
            assert listed is not None
            return [task["status"] for task in listed["tasks"]]

        with anyio.fail_after(60):
            while await statuses() != ["completed"]:
                await anyio.sleep(0.05)
    assert process.stop() == 0


async def test_a_command_whose_worker_is_killed_is_unknown_and_not_run_twice(
    fleet: Fleet, way: Way
) -> None:
    victim = fleet.worker("--lanes", "execute")
    command = "echo x >> ran; echo $$ > pid; sleep 600"
    results: list[types.CallToolResult] = []
    async with way.client(fleet) as client, anyio.create_task_group() as calls:

        async def call() -> None:
            results.append(await client.call_tool("bash", {"command": command}))

        calls.start_soon(call)
        file = fleet.workspace / "pid"
        await soon("the pid", lambda: file.exists() and file.read_text())
        fleet.worker("--lanes", "execute")
        victim.kill()
    (result,) = results
    assert result.is_error
    assert "unknown" in text_of(result)
    assert "not started again" in text_of(result)
    assert (fleet.workspace / "ran").read_text() == "x\n"


async def test_when_the_last_worker_is_killed_the_call_does_not_hang(fleet: Fleet) -> None:
    victim = fleet.worker()
    command = "echo x >> ran; echo $$ > pid; sleep 600"
    results: list[types.CallToolResult] = []
    async with STDIO.client(fleet) as client, anyio.create_task_group() as calls:

        async def call() -> None:
            results.append(await client.call_tool("bash", {"command": command}))

        calls.start_soon(call)
        file = fleet.workspace / "pid"
        await soon("the pid", lambda: file.exists() and file.read_text())
        victim.kill()
    (result,) = results
    assert result.is_error
    assert text_of(result).startswith("unknown: no worker serves lane execute")
    assert "had been started" in text_of(result)


async def test_a_call_that_runs_is_ended_by_its_id(fleet: Fleet) -> None:
    fleet.worker()
    async with STDIO.client(fleet) as client:
        calls = [{"tool": "bash", "arguments": {"command": WAITS}}]
        batch = await client.call_tool("run_many", {"calls": calls, "wait_seconds": 0.1})
        pid = pid_in(fleet.workspace)
        assert batch.structured_content is not None
        task = batch.structured_content["results"][0]["task_id"]
        ended = await client.call_tool("cancel_task", {"task_id": task})
        assert f"task {task} has ended: cancelled" in text_of(ended)
        assert "begun" in text_of(ended), "what it printed is kept"
        await soon("the end of the process", lambda: not runs(pid))


async def test_a_long_output_is_cut_and_read_by_parts(fleet: Fleet, way: Way) -> None:
    fleet.worker()
    async with way.client(fleet) as client:
        result = await client.call_tool("bash", {"command": "seq -f 'line %.0f' 0 6999"})
        text = text_of(result)
        assert text.startswith("line 0\n")
        assert "bytes left out here" in text
        assert "line 6999" in text
        assert "line 5000\n" not in text
        assert len(text) < 45_000
        link = next(block for block in result.content if block.type == "resource_link")
        assert link.size == sum(len(f"line {i}\n") for i in range(7000))
        uri = str(link.uri)

        async def read(query: str) -> str:
            (contents,) = (await client.read_resource(uri + query)).contents
            assert isinstance(contents, types.TextResourceContents)
            return contents.text

        assert (await read("")).splitlines()[6999] == "line 6999"
        part = await read("?offset=4999&limit=2")
        assert part.splitlines()[:2] == ["line 4999", "line 5000"]
        assert "go on with offset 5001" in part
        assert await read("?pattern=00%5B12%5D%24&offset=4998") == (
            "5001:line 5001\n5002:line 5002\n6001:line 6001\n6002:line 6002\n"
        )
        task = uri.rpartition("/")[2]
        page = await client.call_tool("result_read", {"task_id": task, "offset": 6990})
        assert page.structured_content is not None
        assert page.structured_content["total_lines"] == 7000
        assert page.structured_content["next_offset"] is None
        found = await client.call_tool("result_read", {"task_id": task, "pattern": " 1234$"})
        assert text_of(found) == "1234:line 1234\n"
        listed = (await client.list_resources()).resources
        assert uri in {str(resource.uri) for resource in listed}
        templates = (await client.list_resource_templates()).resource_templates
        assert templates[0].uri_template.startswith("a3s://result/")
        with pytest.raises(Exception, match="is of session other"):
            await client.read_resource("a3s://result/other/t1")


async def test_one_of_two_clients_of_a_workspace_goes_and_the_other_works(fleet: Fleet) -> None:
    fleet.worker()
    async with STDIO.client(fleet) as stays:
        async with STDIO.client(fleet) as goes:
            assert text_of(await goes.call_tool("bash", {"command": "echo 1"})) == "1\n"
        assert text_of(await stays.call_tool("bash", {"command": "echo 2"})) == "2\n"


class Handle(types.Result):
    """A call that became a task."""

    result_type: Literal["task"] = "task"
    task_id: str = ""


class State(types.Result):
    """What `tasks/get` answers."""

    task_id: str
    status: str
    result: dict[str, Any] | None = None


class Asked(types.RequestParams):
    task_id: str


class Get(types.Request[Asked, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param: ClassVar[str | None] = "taskId"
    params: Asked


class Cancel(types.Request[Asked, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    name_param: ClassVar[str | None] = "taskId"
    params: Asked


class Tasks(ClientExtension):
    """The client's side of the tasks extension; `seen` is what was asked and answered."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, workspace: Path, *, cancels: bool = False) -> None:
        self.workspace, self.cancels, self.seen = workspace, cancels, [""]

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=Handle, resolve=self.resolve)]

    async def resolve(self, handle: Handle, context: ClaimContext) -> types.CallToolResult:
        asked = Asked(task_id=handle.task_id)
        self.seen = [handle.task_id]
        while True:
            state = await context.session.send_request(Get(params=asked), State)
            self.seen.append(state.status)
            if state.status == "completed":
                return types.CallToolResult.model_validate(state.result)
            if state.status == "cancelled":
                return types.CallToolResult(content=[], is_error=True)
            if self.cancels:
                await context.session.send_request(Cancel(params=asked), types.Result)
            (self.workspace / "go").touch()
            await anyio.sleep(0.1)


async def test_a_long_call_of_a_client_that_knows_tasks_becomes_one(fleet: Fleet) -> None:
    fleet.worker()
    tasks = Tasks(fleet.workspace)
    way = Way("http", "auto")
    async with way.client(fleet, extensions=[tasks]) as client:
        quick = await client.call_tool("bash", {"command": "echo quick"})
        assert (text_of(quick), tasks.seen) == ("quick\n", [""]), "most calls need no task"
        result = await client.call_tool("bash", {"command": WAITS})
    assert text_of(result) == "begun\ndone\n"
    assert tasks.seen[1] == "working"
    assert tasks.seen[-1] == "completed"


async def test_a_task_is_cancelled_as_one(fleet: Fleet) -> None:
    fleet.worker()
    tasks = Tasks(fleet.workspace, cancels=True)
    command = "echo $$ > pid; sleep 600"
    async with Way("stdio", "auto").client(fleet, extensions=[tasks]) as client:
        result = await client.call_tool("bash", {"command": command})
    assert result.is_error
    assert tasks.seen[-1] == "cancelled"
    await soon("the end of the process", lambda: not runs(pid_in(fleet.workspace)))
