"""Which tasks somebody wants to end: one watch for the whole worker."""

import asyncio
from collections.abc import Callable

from .broker import Broker
from .broker.broker import StoredMessage
from .broker.follow import Follow
from .broker.kept import read_marker
from .wire.record import CancelMarker

REMEMBERED = 100_000
"""Markers that are remembered. Older ones are asked for when their task is redelivered."""

Key = tuple[str, str]


class Cancels:
    """The cancel markers that the worker knows, and the running tasks that want to hear of new
    ones."""

    def __init__(self, broker: Broker, session: str | None) -> None:
        self._names = broker.names
        self._markers: dict[Key, CancelMarker] = {}
        self._running: dict[Key, Callable[[], object]] = {}
        subjects = broker.names.of_task(session or "*", "cancel", "*")
        self._follow = Follow(broker, broker.names.stream("CANCELS"), subjects, self._note)

    async def start(self) -> "asyncio.Task[None]":
        """Reads the markers that are kept: all, unless they take more than five seconds; then
        follows new ones in the task that is returned. Raises BrokerError."""
        await self._follow.open()
        await self._follow.kept_is_read()
        return asyncio.create_task(self._follow.run())

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

    def _note(self, message: StoredMessage) -> None:
        key = self._names.session_and_id(message.subject)
        if key is None:
            return
        self._markers[key] = read_marker(message.body)
        if len(self._markers) > REMEMBERED:
            del self._markers[next(iter(self._markers))]
        if key in self._running:
            self._running[key]()
