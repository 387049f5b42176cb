"""The door itself: whom it lets in, and what it leaves behind."""

import http.client
import os
import signal
import subprocess
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from conftest import (
    COORDINATOR,
    STDIO,
    Fleet,
    bearer,
    children_of,
    name_of,
    runs,
    soon,
    text_of,
)
from mcp import Client

pytestmark = pytest.mark.anyio


def alone(fleet: Fleet) -> None:
    """No server is named: the door starts one of its own, in a directory of its own."""
    del fleet.env["NATS_URL"]
    del fleet.env["A3S_PREFIX"]
    fleet.env["A3S_EMBEDDED"] = "true"
    fleet.env["A3S_STATE_DIR"] = str(fleet.workspace.parent / f"state-{uuid.uuid4().hex[:6]}")


def descendants(pid: int) -> list[int]:
    found = []
    for child in children_of(pid):
        found += [child, *descendants(child)]
    return found


def door_of(client: Client) -> int:
    (pid,) = children_of(os.getpid(), "a3s-coordinator")
    return pid


async def test_one_line_is_a_fleet_of_which_nothing_is_left(fleet: Fleet) -> None:
    alone(fleet)
    async with STDIO.client(fleet, "--local-workers", "1") as client:
        assert text_of(await client.call_tool("bash", {"command": "pwd"})) == f"{fleet.workspace}\n"
        started = descendants(door_of(client))
        names = {name_of(pid) for pid in started}
        assert {"a3s-worker", "nats-server"} <= names
    await soon("the end of all", lambda: not any(runs(pid) for pid in started))


async def test_a_door_that_is_killed_takes_its_fleet_with_it(fleet: Fleet) -> None:
    alone(fleet)
    door = subprocess.Popen(
        [str(COORDINATOR), "mcp", "--local-workers", "1", "--http", "0"],
        env=fleet.env,
        cwd=fleet.workspace,
        stderr=subprocess.PIPE,
    )
    try:
        assert door.stderr is not None
        line = next(line for line in door.stderr if b"clients connect to" in line)
        async with Client(line.decode().split()[-1]) as client:
            slow = [{"tool": "bash", "arguments": {"command": "sleep 600"}}]
            await client.call_tool("run_many", {"calls": slow, "wait_seconds": 0.2})
            started = descendants(door.pid)
    finally:
        door.kill()
        door.wait()
    assert len(started) >= 3, "a server, a worker, a command"
    await soon("the end of all", lambda: not any(runs(pid) for pid in started))


async def test_two_workspaces_on_one_embedded_server_keep_apart(
    fleet: Fleet, tmp_path: Path
) -> None:
    alone(fleet)
    other = tmp_path / "other"
    other.mkdir()
    async with (
        STDIO.client(fleet, "--local-workers", "1") as here,
        STDIO.client(fleet, "--local-workers", "1", "--workspace", str(other)) as there,
    ):
        for _ in range(4):
            assert (
                text_of(await here.call_tool("bash", {"command": "pwd"})) == f"{fleet.workspace}\n"
            )
            assert text_of(await there.call_tool("bash", {"command": "pwd"})) == f"{other}\n"


async def test_the_embedded_server_lives_on_with_the_agent_that_stays(fleet: Fleet) -> None:
    alone(fleet)
    first, url = fleet.http("--local-workers", "1", "--session", "one")
    async with Client(url) as client:
        assert text_of(await client.call_tool("bash", {"command": "echo 1"})) == "1\n"
    async with STDIO.client(fleet, "--local-workers", "1", "--session", "two") as stays:
        assert first.stop() == 0, "the server was its own"
        assert text_of(await stays.call_tool("bash", {"command": "echo 2"})) == "2\n"
        async with STDIO.client(fleet, "--local-workers", "1", "--session", "one") as again:
            listed = (await again.call_tool("fetch_result", {})).structured_content
            assert listed is not None
            assert [task["status"] for task in listed["tasks"]] == ["completed"]


def status(url: str, path: str = "/mcp", **headers: str) -> int:
    """What a request without a client of the protocol is answered."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    wanted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    body = (
        '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18",'
        '"capabilities":{},"clientInfo":{"name":"t","version":"1"}}}'
    )
    connection.request("POST", path, body, {**wanted, **headers})
    answered = connection.getresponse().status
    connection.close()
    return answered


async def test_web_pages_and_other_hosts_are_kept_out(fleet: Fleet) -> None:
    process, url = fleet.http()
    port = urlsplit(url).port
    assert status(url) == 200
    assert status(url, Host=f"localhost:{port}") == 200
    assert status(url, Origin="https://evil.example") == 403
    assert status(url, Origin=f"http://localhost:{port}") == 403
    assert status(url, Host="evil.example") == 403
    assert status(url, path="/") == 404
    assert process.stop() == 0


async def test_a_token_is_asked_for_where_one_is_set(fleet: Fleet) -> None:
    fleet.worker()
    process, url = fleet.http("--http-token", "secret")
    assert status(url) == 401
    assert status(url, Authorization="Bearer wrong") == 401
    async with Client(bearer(url, "secret")) as client:
        assert text_of(await client.call_tool("bash", {"command": "echo in"})) == "in\n"
    assert process.stop() == 0


async def test_an_address_that_others_could_reach_is_refused(fleet: Fleet) -> None:
    command = [str(COORDINATOR), "mcp", "--http", "0.0.0.0:0"]
    ended = subprocess.run(command, env=fleet.env, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "no loopback address" in ended.stderr


async def test_many_clients_share_one_door(fleet: Fleet) -> None:
    fleet.worker()
    process, url = fleet.http()
    async with Client(url, mode="legacy") as one, Client(url) as two:
        assert text_of(await one.call_tool("bash", {"command": "echo 1"})) == "1\n"
        assert text_of(await two.call_tool("bash", {"command": "echo 2"})) == "2\n"
        process.child.send_signal(signal.SIGTERM)
        await soon("its end", lambda: process.child.poll() is not None)
    assert process.child.returncode == 0


async def test_a_session_that_was_ended_elsewhere_says_so(fleet: Fleet) -> None:
    fleet.worker()
    async with STDIO.client(fleet, "--session", "s1") as client:
        assert text_of(await client.call_tool("bash", {"command": "echo 1"})) == "1\n"
        end = [str(COORDINATOR), "session", "end", "s1"]
        subprocess.run(end, env=fleet.env, check=True, capture_output=True, timeout=60)
        with anyio.fail_after(60):
            while not (result := await client.call_tool("ls", {})).is_error:
                await anyio.sleep(0.05)
        assert "session s1 is closed" in text_of(result)
