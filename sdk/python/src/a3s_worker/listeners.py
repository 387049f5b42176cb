"""Events for those who listen in this process."""

import asyncio
from collections.abc import AsyncIterator

from .wire.note import Event

KEPT = 1_024
"""Events that wait for a listener that lags behind; older ones are dropped."""


class Listeners:
    """Gives every event to every listener."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()

    def listen(self) -> AsyncIterator[Event]:
        """The events from this call on."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(KEPT)
        self._queues.add(queue)

        async def events() -> AsyncIterator[Event]:
            try:
                while (event := await queue.get()) is not None:
                    yield event
            finally:
                self._queues.discard(queue)

        return events()

    def show(self, event: Event | None) -> None:
        """Something happened; None: nothing will happen any more."""
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
