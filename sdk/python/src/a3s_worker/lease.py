"""The lease on a running task: the broker waits for us as long as we say that we work."""

import asyncio
from collections.abc import Callable

from .delivery import WORKING, Delivery

_REPEAT_AFTER = 0.5


class Lease:
    """Keeps the lease of one delivery. It is ours until `ack_wait` seconds after the last moment
    at which the broker is known to have heard of us. A renewal counts from when it was sent, and
    only when the broker confirmed it."""

    def __init__(self, delivery: Delivery, ack_wait: float) -> None:
        self._delivery = delivery
        self._ack_wait = ack_wait
        self._loop = asyncio.get_running_loop()
        self._confirmed = delivery.received
        self._on_lost: Callable[[], object] = lambda: None
        self._renewal: asyncio.Task[None] | None = None
        self._timer = self._loop.call_at(self._confirmed + ack_wait / 3, self._renew_later)
        # Not before the first renewal: most tasks end earlier, and then need no second timer.
        self._end: asyncio.TimerHandle | None = None

    def left(self) -> float:
        """Seconds until the lease ends; also right after the whole process was stopped for a
        while: the monotonic clock goes on."""
        return self._confirmed + self._ack_wait - self._loop.time()

    def is_held(self) -> bool:
        """Whether the task is still ours."""
        return self.left() > 0

    def on_lost(self, callback: Callable[[], object]) -> None:
        """Calls `callback` when the lease is lost for good; at once, when it is."""
        self._on_lost = callback
        if not self.is_held():
            callback()

    def release(self) -> None:
        """Renews no longer."""
        self._timer.cancel()
        if self._end is not None:
            self._end.cancel()
        if self._renewal is not None:
            self._renewal.cancel()

    def _renew_later(self) -> None:
        if self._end is None:
            self._end = self._loop.call_at(self._confirmed + self._ack_wait, self._check_end)
        if self._renewal is None or self._renewal.done():
            self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        sent = self._loop.time()
        if not self.is_held():
            return
        if await self._delivery.answer_once(WORKING, timeout=self.left()):
            self._confirmed = max(self._confirmed, sent)
            wait = self._ack_wait / 3
        else:
            wait = min(_REPEAT_AFTER, self._ack_wait / 6)
        self._timer = self._loop.call_at(max(self._loop.time(), sent + wait), self._renew_again)

    def _renew_again(self) -> None:
        self._renewal = None
        self._renew_later()

    def _check_end(self) -> None:
        if self.is_held():
            self._end = self._loop.call_at(self._confirmed + self._ack_wait, self._check_end)
        else:
            self.release()
            self._on_lost()
