"""The tools of the worker processes that the tests start. They leave traces in files, so that a
test can count starts."""

import asyncio
import os
import time
from typing import Any

from a3s_worker import ExternalTask, Reject, Retry, Worker

worker = Worker(concurrency=int(os.environ.get("TEST_SLOTS", "4")))


def trace(task: ExternalTask, what: str) -> None:
    """Appends a line to the file that the task names."""
    with open(task.payload["trace"], "a") as file:
        file.write(f"{what} {task.attempt} {worker.id}\n")


@worker.tool("echo")
async def echo(task: ExternalTask) -> Any:
    return task.payload


@worker.tool("wait")
async def wait(task: ExternalTask) -> str:
    """Ends when the file `gate` is there."""
    trace(task, "started")
    while not os.path.exists(task.payload["gate"]):  # noqa: ASYNC110 - it is another process's
        await asyncio.sleep(0.02)
    trace(task, "ended")
    return worker.id


@worker.tool("block")
def block(task: ExternalTask) -> str:
    """As `wait`, in a thread."""
    trace(task, "started")
    while not os.path.exists(task.payload["gate"]) and not task.is_stopped():
        time.sleep(0.02)
    trace(task, "stopped" if task.is_stopped() else "ended")
    return worker.id


@worker.tool("later")
async def later(task: ExternalTask) -> int:
    if task.attempt < 3:
        raise Retry("not yet")
    return task.attempt


@worker.tool("refuse")
async def refuse(task: ExternalTask) -> None:
    raise Reject("never")


@worker.tool("tell")
async def tell(task: ExternalTask) -> str:
    task.progress("halfway\n")
    return "told"
