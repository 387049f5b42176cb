"""Requests to the broker, all over one inbox. Lighter than the client library's own, which takes
a random token and a task for each."""

import asyncio
from collections import deque
from collections.abc import Mapping

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from .denials import Denied, permission
from .errors import BrokerError, DeniedError, MissingError, UnconfirmedError

TIMEOUT = 5.0
"""How long an answer is waited for, in seconds."""

FORGOTTEN = 32
"""Subjects of denied requests that are remembered: of several that were asked at once each is
denied by itself, and the first denial ends them all."""

_NO_RESPONDERS = "503"


class Requests:
    """Sends requests and gives each its answer. `credential`: who we are, for errors."""

    def __init__(self, client: Client, credential: str) -> None:
        self.client = client
        self._credential = credential
        self._inbox = ""
        self._waiting: dict[str, tuple[str, asyncio.Future[Msg]]] = {}
        self._denied: deque[str] = deque(maxlen=FORGOTTEN)
        self._deaf = False
        self._next = 0
        self._connected = asyncio.Event()
        self._connected.set()

    async def start(self) -> None:
        """Listens for answers, on a connection that is there."""
        self._inbox = self.client.new_inbox()
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered)

    def note_connected(self, connected: bool) -> None:
        """The connection was lost, or is there again: what it may hear shows anew."""
        self._deaf = False
        (self._connected.set if connected else self._connected.clear)()

    def deny(self, denied: Denied) -> bool:
        """Ends what waits for an answer that cannot come. Whether anything did."""
        if denied.concerns("subscribe", f"{self._inbox}.*"):
            self._deaf = True
            for _, answer in self._waiting.values():
                _fail(answer, self._is_deaf())
            return bool(self._waiting)
        ended = False
        for subject, answer in self._waiting.values():
            if denied.concerns("publish", subject):
                _fail(answer, DeniedError(permission("publish", subject), self._credential))
                ended = True
        if ended:
            self._denied.append(denied.subject)
        return ended or (denied.act == "publish" and denied.subject in self._denied)

    async def request(
        self,
        subject: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
    ) -> Msg:
        """Asks and waits for the answer, `timeout` seconds at most.

        Raises DeniedError when it is not permitted, MissingError when nobody listens there,
        UnconfirmedError without an answer.
        """
        loop = asyncio.get_running_loop()
        late = loop.time() + timeout
        if not self.client.is_connected:
            # The library would keep it and send it after the reconnect, when it is stale.
            await self._reconnected(subject, timeout)
        if self._deaf:
            raise self._is_deaf()
        self._next += 1
        token = str(self._next)
        answer: asyncio.Future[Msg] = loop.create_future()
        self._waiting[token] = subject, answer
        timer = loop.call_at(late, _give_up, answer, subject)
        try:
            reply = f"{self._inbox}.{token}"
            await self.client.publish(subject, body, reply, dict(headers) if headers else None)
            message = await answer
        except (Error, OSError) as error:
            what = str(error) or type(error).__name__
            raise UnconfirmedError(f"{subject}: {what}") from error
        finally:
            timer.cancel()
            self._waiting.pop(token, None)
        if message.headers and not message.data and message.headers.get("Status") == _NO_RESPONDERS:
            raise MissingError(
                f"{subject}: nobody answers; is JetStream enabled, and was a coordinator or "
                "worker started once?"
            )
        return message

    async def _reconnected(self, subject: str, timeout: float) -> None:
        try:
            await asyncio.wait_for(self._connected.wait(), timeout)
        except asyncio.TimeoutError:
            raise UnconfirmedError(f"{subject}: not connected for {timeout:.1f} s") from None

    async def _answered(self, message: Msg) -> None:
        _, answer = self._waiting.get(message.subject.rpartition(".")[2], ("", None))
        if answer is not None and not answer.done():
            answer.set_result(message)

    def _is_deaf(self) -> DeniedError:
        return DeniedError(permission("subscribe", f"{self._inbox}.*"), self._credential)


def _give_up(answer: "asyncio.Future[Msg]", subject: str) -> None:
    _fail(answer, UnconfirmedError(f"{subject}: no answer from the broker in time"))


def _fail(answer: "asyncio.Future[Msg]", error: BrokerError) -> None:
    if not answer.done():
        answer.set_exception(error)
