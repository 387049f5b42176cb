"""Which tools are offered, and what calls of them answer."""

import json
import subprocess
from typing import Any

import anyio
import pytest
from conftest import COORDINATOR, STDIO, Fleet, Way, eventually, soon, text_of
from mcp import MCPError

pytestmark = pytest.mark.anyio

WORKERS_TOOLS = {"read", "grep", "glob", "ls", "bash", "write", "edit"}
OWN_TOOLS = {"run_many", "fetch_result", "result_read", "cancel_task"}


async def test_tools_say_what_they_take_and_what_they_may_do(fleet: Fleet, way: Way) -> None:
    async with way.client(fleet) as client:  # no worker is there: the list needs none
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == WORKERS_TOOLS | OWN_TOOLS
    assert tools["read"].input_schema["required"] == ["file_path"]
    reading, running = tools["read"].annotations, tools["bash"].annotations
    assert reading is not None
    assert running is not None
    assert (reading.read_only_hint, reading.destructive_hint) == (True, False)
    assert (running.read_only_hint, running.destructive_hint) == (False, True)
    assert (running.idempotent_hint, running.open_world_hint) == (False, True)


async def test_a_file_is_written_read_edited_found_and_listed(fleet: Fleet, way: Way) -> None:
    fleet.worker()
    async with way.client(fleet) as client:
        wrote = await client.call_tool("write", {"file_path": "a/b.txt", "content": "one\ntwo\n"})
        assert not wrote.is_error, wrote
        assert (fleet.workspace / "a/b.txt").read_text() == "one\ntwo\n"
        read = await client.call_tool("read", {"file_path": "a/b.txt", "offset": 1})
        assert "two" in text_of(read)
        assert "one" not in text_of(read)
        assert read.structured_content is not None
        assert read.structured_content["range"]["total_lines"] == 2
        found = await client.call_tool("grep", {"pattern": "^tw", "path": "a"})
        assert "two" in text_of(found)
        globbed = await client.call_tool("glob", {"pattern": "**/*.txt"})
        assert "a/b.txt" in text_of(globbed)
        listed = await client.call_tool("ls", {})
        assert "a" in text_of(listed)
        edit = {"file_path": "a/b.txt", "old_string": "two", "new_string": "2"}
        assert not (await client.call_tool("edit", edit)).is_error
        assert (fleet.workspace / "a/b.txt").read_text() == "one\n2\n"


async def test_a_command_that_fails_shows_its_output_and_its_exit_code(
    fleet: Fleet, way: Way
) -> None:
    fleet.worker()
    async with way.client(fleet) as client:
        result = await client.call_tool("bash", {"command": "echo out; echo bad >&2; exit 3"})
    assert result.is_error
    lines = text_of(result).splitlines()
    assert sorted(lines[:2]) == ["bad", "out"], "two pipes have no order between them"
    assert "exited with code 3" in text_of(result)
    assert result.structured_content is not None
    assert result.structured_content["exit_code"] == 3
    assert result.structured_content["stderr"] == "bad\n"
    assert result.meta is not None
    assert result.meta["a3s/outcome"] == "failed"


async def test_a_tool_of_a_python_worker_comes_with_its_schema_and_is_told(fleet: Fleet) -> None:
    changed = anyio.Event()

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            changed.set()

    async with STDIO.client(fleet, message_handler=hear) as client:
        assert "shout" not in {tool.name for tool in (await client.list_tools()).tools}
        fleet.python_worker("shouting_worker.py")
        with anyio.fail_after(60):
            await changed.wait()
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["shout"].description == "Shouts a text."
        assert tools["shout"].input_schema["required"] == ["text"]
        annotations = tools["shout"].annotations
        assert annotations is not None
        assert annotations.read_only_hint is True
        assert annotations.destructive_hint is None
        result = await client.call_tool("shout", {"text": "hello"})
        assert text_of(result) == "HELLO!"
        assert result.structured_content == {"output": "HELLO!", "letters": 5}
        image = next(block for block in result.content if block.type == "image")
        assert (image.mime_type, image.data[:4]) == ("image/gif", "R0lG")
        # The worker has no other tool, and that is said instead of tried.
        missing = await client.call_tool("bash", {"command": "true"})
        assert missing.is_error
        assert "has the tool bash; those that are there have shout" in text_of(missing)


async def test_a_client_of_the_newer_protocol_hears_of_new_tools_too(fleet: Fleet) -> None:
    async with (
        Way("http", "auto").client(fleet) as client,
        client.listen(tools_list_changed=True) as changes,
    ):
        fleet.python_worker("shouting_worker.py")
        with anyio.fail_after(60):
            await changes.__anext__()
        listed = await client.list_tools(cache_mode="refresh")
        assert "shout" in {tool.name for tool in listed.tools}


async def test_a_program_of_a_worker_is_described_by_a_file(fleet: Fleet) -> None:
    program = fleet.workspace / "count.sh"
    program.write_text("#!/bin/sh\nls | wc -l\n")
    program.chmod(0o755)
    (fleet.workspace / "count.json").write_text(
        json.dumps({"description": "Counts.", "annotations": {"read_only": True}})
    )
    fleet.worker("--tool", "count=./count.sh", "--tool-info", "count=count.json")
    async with STDIO.client(fleet) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert tools["count"].description == "Counts."
        assert text_of(await client.call_tool("count", {})).strip() == "2"


async def test_only_the_tools_that_were_named_are_there(fleet: Fleet) -> None:
    fleet.worker()
    async with STDIO.client(fleet, "--tools", "read,run_many") as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        assert tools == {"read", "run_many"}
        with pytest.raises(MCPError, match="unknown tool"):
            await client.call_tool("bash", {"command": "touch ran"})
        call = {"tool": "bash", "arguments": {"command": "touch ran"}}
        assert (await client.call_tool("run_many", {"calls": [call]})).is_error
    assert not (fleet.workspace / "ran").exists()


async def test_without_a_worker_one_sentence_says_so_at_once(fleet: Fleet, way: Way) -> None:
    async with way.client(fleet) as client:
        began = anyio.current_time()
        result = await client.call_tool("bash", {"command": "touch ran"})
        took = anyio.current_time() - began
        assert result.is_error
        assert "no worker serves lane execute of pool default" in text_of(result)
        assert "a3s-worker --lanes execute" in text_of(result)
        assert took < 30, "the wait for a worker is 1 s, and nothing else is waited for"
        listed = await client.call_tool("fetch_result", {})
        assert listed.structured_content is not None
        assert listed.structured_content["tasks"] == [], "nothing was left behind"
    fleet.worker()
    assert not (fleet.workspace / "ran").exists()


async def test_a_batch_answers_in_order_and_one_that_fails_is_one(fleet: Fleet, way: Way) -> None:
    fleet.worker()
    (fleet.workspace / "a.txt").write_text("alpha\n")
    calls = [
        {"tool": "bash", "arguments": {"command": "sleep 0.5; echo slow"}},
        {"tool": "read", "arguments": {"file_path": "a.txt"}},
        {"tool": "bash", "arguments": {"command": "echo wrong; exit 7"}},
        {"tool": "read", "arguments": {"file_path": "none.txt"}},
    ]
    counts: list[tuple[float, float | None]] = []

    async def progress(done: float, total: float | None, _message: str | None) -> None:
        counts.append((done, total))

    async with way.client(fleet) as client:
        result = await client.call_tool("run_many", {"calls": calls}, progress_callback=progress)
        await soon("the last count", lambda: (4, 4) in counts)
    assert not result.is_error
    merged = result.structured_content
    assert merged is not None
    assert (merged["completed"], merged["failed"], merged["running"]) == (2, 2, 0)
    assert [one["status"] for one in merged["results"]] == [
        "completed",
        "completed",
        "failed",
        "failed",
    ]
    assert merged["results"][2]["exit_code"] == 7
    text = text_of(result)
    assert text.index("slow") < text.index("alpha") < text.index("wrong")
    assert "none.txt: No such file" in text


async def test_a_batch_that_is_not_waited_for_goes_on(fleet: Fleet) -> None:
    fleet.worker()
    calls = [
        {"tool": "bash", "arguments": {"command": "echo first"}},
        {
            "tool": "bash",
            "arguments": {"command": "until [ -e go ]; do sleep 0.05; done; echo late"},
        },
    ]
    async with STDIO.client(fleet) as client:
        result = await client.call_tool("run_many", {"calls": calls, "wait_seconds": 3})
        merged = result.structured_content
        assert merged is not None
        late = merged["results"][1]
        assert late["status"] == "running"
        (fleet.workspace / "go").touch()
        fetch = {"task_id": late["task_id"], "wait_seconds": 60}
        assert text_of(await client.call_tool("fetch_result", fetch)) == "late\n"


async def test_arguments_that_make_no_sense_are_told_with_what_is_right(fleet: Fleet) -> None:
    fleet.worker()
    async with STDIO.client(fleet) as client:
        for tool, arguments, said in [
            ("run_many", {"calls": []}, "a batch has 1 to 100"),
            ("run_many", {"call": []}, "it takes calls"),
            ("run_many", {"calls": [{"tool": "run_many"}]}, "cannot call"),
            ("fetch_result", {"task_id": "none"}, "has no task none"),
            ("fetch_result", {"task_id": "a.b"}, "invalid task id"),
            ("result_read", {}, "it takes task_id"),
            ("cancel_task", {"task_id": "none"}, "has no task none"),
            ("read", {}, "missing field `file_path`"),
        ]:
            result = await client.call_tool(tool, arguments)
            assert result.is_error, (tool, arguments)
            assert said in text_of(result), (tool, arguments, text_of(result))
        with pytest.raises(MCPError, match="unknown tool"):
            await client.call_tool("none", {})


async def test_standard_output_carries_the_protocol_alone(fleet: Fleet) -> None:
    door = subprocess.Popen(
        [str(COORDINATOR), "mcp"],
        env={**fleet.env, "RUST_LOG": "debug"},
        cwd=fleet.workspace,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert door.stdin is not None
    assert door.stdout is not None
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello["clientInfo"] = {"name": "test", "version": "1"}
    messages = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    for message in messages:
        door.stdin.write(json.dumps(message).encode() + b"\n")
        door.stdin.flush()
        if "id" in message:
            assert json.loads(door.stdout.readline())["id"] == message["id"]
    door.stdin.close()
    rest = door.stdout.read().splitlines()
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in rest)
    eventually("its end", lambda: door.poll() is not None)
    assert door.returncode == 0
