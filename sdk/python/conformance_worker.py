"""The Python worker as the conformance suite wants it: docs/conformance.md says what each tool
does. It is told everything by its environment."""

import asyncio
import os
from pathlib import Path
from typing import Any

from a3s_worker import ExternalTask, Reject, Retry, RetryAfter, ToolError, Worker

worker = Worker()


def append(path: str, line: str) -> None:
    """One write, synced: the line is there even if the process is killed the moment after."""
    with open(path, "ab", buffering=0) as file:
        file.write(f"{line}\n".encode())
        os.fsync(file.fileno())


async def waited(task: ExternalTask) -> None:
    await asyncio.sleep(task.payload.get("ms", 0) / 1000)


@worker.tool("echo")
async def echo(task: ExternalTask) -> Any:
    return {"success": True, "result": task.payload}


@worker.tool("sleep")
async def sleep(task: ExternalTask) -> Any:
    await waited(task)
    return {"slept_ms": task.payload["ms"]}


@worker.tool("count")
async def count(task: ExternalTask) -> Any:
    pid = os.getpid()
    append(task.payload["file"], f"start {pid}")
    await waited(task)
    append(task.payload["file"], f"end {pid}")
    return {"pid": pid}


@worker.tool("fail")
async def fail(task: ExternalTask) -> Any:
    raise ToolError(task.payload["error"], task.payload.get("result"), task.payload.get("kind"))


@worker.tool("throw")
def throw(task: ExternalTask) -> Any:
    raise RuntimeError(f"task {task.task_id} was to break this tool")


@worker.tool("retry")
async def retry(task: ExternalTask) -> Any:
    path, after_ms = task.payload["file"], task.payload.get("after_ms")
    append(path, f"start {os.getpid()}")
    starts = Path(path).read_text().count("start ")
    if starts >= task.payload["until"]:
        return {"starts": starts}
    if after_ms is not None:
        raise RetryAfter("not yet", after_ms / 1000)
    raise Retry("not yet")


@worker.tool("reject")
async def reject(task: ExternalTask) -> Any:
    raise Reject(task.payload["error"])


@worker.tool("blob")
def blob(task: ExternalTask) -> Any:
    return {"text": "x" * task.payload["bytes"]}


@worker.tool("progress")
async def progress(task: ExternalTask) -> Any:
    for chunk in task.payload["chunks"]:
        task.progress(chunk)
    await waited(task)
    return {"output": "".join(task.payload["chunks"])}


if __name__ == "__main__":
    worker.serve()
