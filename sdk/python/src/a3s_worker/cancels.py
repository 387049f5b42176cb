"""Which tasks somebody wants to end: one watch for the whole worker."""

import asyncio
from collections.abc import Callable

from nats.aio.msg import Msg

from .broker import Broker, BrokerError
from .broker.kept import read_marker
from .wire.record import CancelMarker

REMEMBERED = 100_000
"""Markers that are remembered. Older ones are asked for when their task is redelivered."""

_LOOK_EVERY = 5.0

Key = tuple[str, str]


class Cancels:
    """The cancel markers that the worker knows, and the running tasks that want to hear of new
    ones. Markers are heard as they are published; what a lost connection swallowed is read from
    their stream, after every reconnect and every few seconds."""

    def __init__(self, broker: Broker, session: str | None) -> None:
        self._broker = broker
        self._subjects = broker.names.of_task(session or "*", "cancel", "*")
        self._markers: dict[Key, CancelMarker] = {}
        self._running: dict[Key, Callable[[], object]] = {}
        self._seen = 0
        self._look_now = asyncio.Event()

    async def start(self) -> "asyncio.Task[None]":
        """Reads the markers that are kept, then follows new ones in the task that is returned.
        Raises BrokerError."""
        await self._broker.client.subscribe(self._subjects, cb=self._heard)
        await self._read_on()
        self._broker.on_connected.append(self._look_now.set)
        return asyncio.create_task(self._follow())

    def marker(self, session: str, task_id: str) -> CancelMarker | None:
        """The marker of a task, if it has one."""
        return self._markers.get((session, task_id))

    def watch(self, session: str, task_id: str, callback: Callable[[], object]) -> None:
        """Calls `callback` when the task is cancelled; at once, when it is."""
        self._running[session, task_id] = callback
        if (session, task_id) in self._markers:
            callback()

    def unwatch(self, session: str, task_id: str) -> None:
        """The task has ended."""
        self._running.pop((session, task_id), None)

    async def _heard(self, message: Msg) -> None:
        self._note(message.subject, message.data)

    def _note(self, subject: str, body: bytes) -> None:
        key = self._broker.names.session_and_id(subject)
        if key is None:
            return
        self._markers[key] = read_marker(body)
        if len(self._markers) > REMEMBERED:
            del self._markers[next(iter(self._markers))]
        if key in self._running:
            self._running[key]()

    async def _read_on(self) -> None:
        stream = self._broker.names.stream("CANCELS")
        async for message in self._broker.scan(stream, self._subjects, self._seen):
            self._note(message.subject, message.body)
            self._seen = message.sequence

    async def _follow(self) -> None:
        while True:
            timer = asyncio.get_running_loop().call_later(_LOOK_EVERY, self._look_now.set)
            await self._look_now.wait()
            timer.cancel()
            self._look_now.clear()
            try:
                await self._read_on()
            except BrokerError:
                continue  # the next look, or the redelivery, finds them
