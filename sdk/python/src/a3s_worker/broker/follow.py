"""What a stream holds and gets on some subjects, in order.

Read by a consumer of our own, because its request names stream, consumer and filter in its
subject, so that permissions can tell who may follow what; a scan by `DIRECT.GET` names the filter
in its body. The consumer is named anew each time: an old one ends by itself, five seconds after
the last listener.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from ..wire.token import unique_token
from .broker import Broker, StoredMessage, log
from .errors import BrokerError, DeniedError, UnconfirmedError
from .requests import TIMEOUT

HEARTBEAT = 2.0
"""Seconds of silence after which the broker says that it is still there."""
DEAF_AFTER = 5.0
"""Silence after which a watch counts as lost."""
REOPEN_AFTER = 0.5
"""The wait before a watch that could not be opened is tried again."""
DENIED_AFTER = 30.0
"""The wait before a watch that was not permitted is tried again: somebody has to change that."""


class Follow:
    """A watch on the subjects `subjects` of a stream: `note` is called with every message that is
    kept, then with every new one. What was noted is noted again after the watch was lost."""

    def __init__(
        self, broker: Broker, stream: str, subjects: str, note: Callable[[StoredMessage], object]
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._subjects = subjects
        self._note = note
        self._name = ""
        self._subscription: Subscription | None = None
        self._sequence = 0
        self._heard = 0.0
        self._kept_read = asyncio.Event()
        self._look = asyncio.Event()
        self._lost = False

    async def open(self) -> None:
        """Opens it. Raises BrokerError."""
        await self.close()
        self._name = name = f"follow-{unique_token()}"
        inbox = self._broker.client.new_inbox()
        config = {
            "name": name,
            "filter_subject": self._subjects,
            "deliver_subject": inbox,
            "deliver_policy": "all",
            "ack_policy": "none",
            "max_deliver": 1,
            "flow_control": True,
            "idle_heartbeat": int(HEARTBEAT * 1e9),
            "mem_storage": True,
            "num_replicas": 1,
        }
        call = f"CONSUMER.CREATE.{self._stream}.{name}.{self._subjects}"
        body = {"stream_name": self._stream, "config": config, "action": "create"}
        self._sequence, self._lost = 0, False
        self._kept_read.clear()
        try:
            on_message = partial(self._on_message, name)
            self._subscription = await self._broker.client.subscribe(inbox, cb=on_message)
            created = await self._broker.call(call, body)
        except DeniedError as error:
            raise error.needed_to(f"follow {self._subjects}") from error
        except (Error, OSError) as error:
            raise UnconfirmedError(f"follow {self._subjects}: {error}") from error
        self._heard = asyncio.get_running_loop().time()
        if created["num_pending"] == 0:
            self._kept_read.set()

    async def kept_is_read(self, timeout: float = TIMEOUT) -> bool:
        """Waits until everything was noted that was kept when it was opened; False when that
        takes longer than `timeout` seconds."""
        try:
            await asyncio.wait_for(self._kept_read.wait(), timeout)
        except asyncio.TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Follows for ever: opens it again when it is lost, and after every reconnect."""
        self._broker.on_connected.append(self._lose)
        loop = asyncio.get_running_loop()
        while True:
            timer = loop.call_later(HEARTBEAT, self._look.set)
            await self._look.wait()
            timer.cancel()
            self._look.clear()
            if self._lost or loop.time() - self._heard > DEAF_AFTER:
                await self._reopen()

    async def close(self) -> None:
        """Ends it."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(Error, OSError):
                await subscription.unsubscribe()

    async def _reopen(self) -> None:
        try:
            await self.open()
        except BrokerError as error:
            log.debug("the watch on %s is not open: %s", self._subjects, error)
            self._lost = True
            denied = isinstance(error, DeniedError)
            await asyncio.sleep(DENIED_AFTER if denied else REOPEN_AFTER)
            self._look.set()

    def _lose(self) -> None:
        self._lost = True
        self._look.set()

    async def _on_message(self, name: str, message: Msg) -> None:
        # What an earlier watch has left is noted by this one too.
        if name != self._name or self._lost:
            return
        self._heard = asyncio.get_running_loop().time()
        headers = message.headers or {}
        if headers.get("Status"):
            await self._on_status(message, headers)
            return
        delivered = _read(message)
        if delivered is None or delivered[0] != self._sequence + 1:
            self._lose()
            return
        self._sequence, left, stored = delivered
        self._note(stored)
        if left == 0:
            self._kept_read.set()

    async def _on_status(self, message: Msg, headers: dict[str, str]) -> None:
        # Flow control: the broker waits until we say that we have come so far.
        said = message.reply or headers.get("Nats-Consumer-Stalled")
        if said:
            with contextlib.suppress(Error, OSError):
                await self._broker.client.publish(said)
            return
        last = headers.get("Nats-Last-Consumer", "")
        if last.isdigit() and int(last) != self._sequence:
            self._lose()
        else:
            # Nothing is left: what was kept may go by its age before it is delivered.
            self._kept_read.set()


async def held(
    broker: Broker, stream: str, subjects: str, timeout: float = TIMEOUT
) -> list[StoredMessage]:
    """The messages of a stream whose subject matches, oldest first. Raises BrokerError."""
    found: list[StoredMessage] = []
    follow = Follow(broker, stream, subjects, found.append)
    try:
        await follow.open()
        if not await follow.kept_is_read(timeout):
            raise UnconfirmedError(f"read {subjects} of {stream}: not all of it came in time")
    finally:
        await follow.close()
    return found


def _read(message: Msg) -> tuple[int, int, StoredMessage] | None:
    """The number of a delivery, how many are left after it, and what was delivered; None when it is
    none."""
    tokens = message.reply.split(".")
    if len(tokens) >= 11:
        tokens = tokens[2:]  # a domain and an account hash come first
    try:
        stored_in, number, stored_at, left = (int(token) for token in tokens[5:9])
    except ValueError:
        return None
    headers = message.headers or {}
    at_ms = stored_at // 1_000_000
    return number, left, StoredMessage(message.subject, stored_in, headers, message.data, at_ms)
