"""Partial output of running tools, shown to whoever watches. Best effort and bounded."""

import asyncio
from collections.abc import Callable
from itertools import count

from .broker import Broker

MAX_CHUNK = 64 * 1024
"""The largest piece, in bytes."""

CHUNK_NUMBER = "A3s-Chunk"
"""Numbers the pieces of a task from 1, so that a watcher sees a gap."""


def show_output(broker: Broker, session: str, task_id: str) -> Callable[[bytes], None]:
    """The way for one task's output, from any thread."""
    subject = broker.names.of_task(session, "output", task_id)
    loop = asyncio.get_running_loop()
    numbers = count(1)

    def tell(output: bytes) -> None:
        for start in range(0, len(output), MAX_CHUNK):
            headers = {CHUNK_NUMBER: str(next(numbers))}
            broker.tell(subject, output[start : start + MAX_CHUNK], headers)

    def show(output: bytes) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, output)

    return show
