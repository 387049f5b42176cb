"""What is told and never awaited: events and output. Bounded; what is beyond it is dropped."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping

from nats.aio.client import Client
from nats.errors import Error

WAITING = 4_096
"""Messages that wait to be sent."""


class Outbox:
    """Sends messages one after the other, in the background."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: deque[tuple[str, bytes, Mapping[str, str] | None]] = deque()
        self._pump: asyncio.Task[None] | None = None

    def tell(self, subject: str, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Sends a message some time, or never. From the thread of the loop only."""
        if len(self._queue) >= WAITING or not self._client.is_connected:
            return
        self._queue.append((subject, body, headers))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._send_all())

    async def flush(self) -> None:
        """Waits until what was told before is sent."""
        if self._pump is not None:
            await self._pump

    async def _send_all(self) -> None:
        while self._queue:
            subject, body, headers = self._queue.popleft()
            with contextlib.suppress(Error, OSError):
                await self._client.publish(subject, body, "", dict(headers) if headers else None)
