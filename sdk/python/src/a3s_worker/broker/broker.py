"""The broker: publishing with its word, and reading and removing single messages of a stream."""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from ..trust import Signatures
from ..wire import clock
from ..wire.encoding import Encoding
from ..wire.names import Names
from ..wire.note import Event
from .denials import Denied, Said, permission
from .errors import (
    BrokerError,
    ConflictError,
    DeniedError,
    MissingError,
    RefusedError,
    UnconfirmedError,
)
from .outbox import Outbox
from .requests import TIMEOUT, Requests

log = logging.getLogger("a3s_worker")

EXPECTED_LAST = "Nats-Expected-Last-Subject-Sequence"
_OF_SUBJECT = "Nats-Expected-Last-Subject-Sequence-Subject"
_NEVER = 2**53 - 1
"""A sequence that no message has."""
_WRONG_LAST = "wrong last sequence: "

_NO_STREAM = 10059
_WRONG_LAST_SEQUENCE = (10071, 10164)
_NOT_STORED = 10077
_ONE_A_SUBJECT = "maximum messages per subject"


@dataclass(frozen=True)
class PubAck:
    """The broker's word that a message is stored."""

    stream: str
    sequence: int
    duplicate: bool


@dataclass(frozen=True)
class StoredMessage:
    """A message as a stream holds it. `stored_at_ms` is on the broker's clock."""

    subject: str
    sequence: int
    headers: Mapping[str, str]
    body: bytes
    stored_at_ms: int


class Broker:
    """A connection with the names under its prefix. `credential`: who we are, in words that can be
    shown. `signatures`: what it signs with and whom it trusts; nothing and everybody, unless it is
    set."""

    def __init__(
        self,
        client: Client,
        names: Names,
        js_domain: str | None = None,
        credential: str = "no credential",
    ) -> None:
        self.client = client
        self.credential = credential
        self.names = names
        self.js_domain = js_domain
        self.api = f"$JS.{js_domain}.API" if js_domain else "$JS.API"
        self.on_connected: list[Callable[[], None]] = []
        self.signatures = Signatures()
        self._requests = Requests(client, credential)
        self._said = Said()
        self._outbox = Outbox(client)
        self.request = self._requests.request
        self.tell = self._outbox.tell

    async def start(self) -> None:
        """Listens for answers."""
        await self._requests.start()

    async def connection_lost(self) -> None:
        """Requests wait for the connection from now on."""
        self._requests.note_connected(False)

    async def connection_back(self) -> None:
        """Tells those who have to ask again: what was sent meanwhile did not come."""
        self._requests.note_connected(True)
        for callback in self.on_connected:
            callback()

    def denied(self, denied: Denied) -> None:
        """The broker did not permit something. Told to who waits for an answer, and logged when
        nobody does."""
        if not self._requests.deny(denied) and self._said.is_new(denied):
            log.warning("%s may not %s", self.credential, permission(denied.act, denied.subject))

    async def close(self) -> None:
        """Sends what waits to be sent, and closes the connection."""
        if not self.client.is_closed:
            await self._outbox.flush()
            if self.client.is_connected:
                await self.client.flush()
            await self.client.close()

    async def call(self, what: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call of the JetStream API. Raises BrokerError."""
        message = await self.request(
            f"{self.api}.{what}", json.dumps(body).encode() if body else b""
        )
        answer: dict[str, Any] = json.loads(message.data)
        if "error" in answer:
            if answer["error"].get("err_code") == _NO_STREAM:
                raise MissingError(f"{what}: no stream; was a coordinator started once?")
            raise api_error(what, answer["error"])
        return answer

    async def publish(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        expected_last: int | None = None,
        timeout: float = TIMEOUT,
    ) -> PubAck:
        """Publishes and waits for the broker's word. With `expected_last`, only if the last
        message of the subject has this sequence (0: there is none).

        Raises ConflictError when that does not hold or the subject may have one message only,
        UnconfirmedError when nobody knows, RefusedError, DeniedError and MissingError when it is
        not stored.
        """
        limit = self.client.max_payload
        if len(body) > limit:
            raise RefusedError(f"{subject}: {len(body)} bytes are more than max_payload, {limit}")
        if expected_last is not None:
            headers = {**headers, EXPECTED_LAST: str(expected_last)}
        message = await self.request(subject, body, headers, timeout)
        try:
            answer = json.loads(message.data)
        except ValueError:
            raise UnconfirmedError(f"{subject}: the broker's answer is no JSON") from None
        if error := answer.get("error"):
            code, text = error.get("err_code", 0), error.get("description", "")
            one_a_subject = code == _NOT_STORED and _ONE_A_SUBJECT in text
            if code in _WRONG_LAST_SEQUENCE or one_a_subject:
                _, _, last = text.partition(_WRONG_LAST)
                known = int(last) if last.isdigit() else None
                raise ConflictError(f"{subject}: there is one already", known)
            raise api_error(subject, error)
        return PubAck(answer["stream"], answer["seq"], answer.get("duplicate", False))

    async def publish_first(
        self,
        subject: str,
        body: bytes,
        headers: Mapping[str, str],
        expected_last: int | None = None,
    ) -> bool:
        """As `publish`, for what may be there once. False: there was one before."""
        try:
            return not (await self.publish(subject, body, headers, expected_last)).duplicate
        except ConflictError:
            return False

    async def holds(self, subject: str, elsewhere: str) -> bool:
        """Whether a subject of a stream has a message, for who may not read it: asked by a publish
        to another subject of the stream, which is refused whatever there is. Raises BrokerError."""
        end = asyncio.get_running_loop().time() + TIMEOUT
        while True:
            try:
                await self.publish(elsewhere, b"", {_OF_SUBJECT: subject}, _NEVER)
            except ConflictError as error:
                if error.last is not None:
                    return error.last > 0
                # Something is being published to it at this moment.
                if asyncio.get_running_loop().time() > end:
                    raise
            else:
                raise RefusedError(f"{subject}: the broker did not compare sequences")
            await asyncio.sleep(0.05)

    async def last(self, stream: str, subject: str) -> StoredMessage | None:
        """The last message of a subject. Raises BrokerError."""
        return _stored(stream, await self.request(f"{self.api}.DIRECT.GET.{stream}.{subject}"))

    async def may_publish(self, what: str, subject: str) -> None:
        """Asks whether our credential may publish to `subject`, which a stream takes. Nothing is
        stored: the message says that it is for another stream. `what` it is needed for.

        Raises DeniedError when it may not. That the broker says nothing is no error here.
        """
        await self._may_ask(what, subject, b"", {"Nats-Expected-Stream": "nowhere"})

    async def may_pull(self, what: str, stream: str, consumer: str) -> None:
        """As `may_publish`, of pulls from a consumer: by a pull that the broker cannot read, so
        that it brings no task."""
        subject = f"{self.api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        await self._may_ask(what, subject, b'{"batch":"none"}', {})

    async def _may_ask(
        self, what: str, subject: str, body: bytes, headers: Mapping[str, str]
    ) -> None:
        try:
            await self.request(subject, body, headers)
        except DeniedError as error:
            raise error.needed_to(what) from error
        except BrokerError as error:
            log.debug("whether we may %s is not known: %s", what, error)

    async def remove(self, stream: str, sequence: int) -> None:
        """Removes a message; one that is gone is no error. Raises BrokerError."""
        try:
            await self.call(f"STREAM.MSG.DELETE.{stream}", {"seq": sequence, "no_erase": True})
        except RefusedError as error:
            if "no message found" not in str(error):
                raise

    def emit(self, event: Event) -> None:
        """Tells the world what happened; nobody waits for it."""
        subject = self.names.event(event.session_id, event.kind)
        self.tell(subject, Encoding.JSON.encode(event.write()))

    async def measure_clock(self, call: str) -> None:
        """Compares this machine's clock with the broker's, which it tells in the answer to `call`
        of the JetStream API; deadlines follow the broker's. The shortest of three round trips is
        the most exact."""
        trips = []
        for _ in range(3):
            sent = clock.local_now_ms()
            try:
                answer = await self.request(f"{self.api}.{call}", timeout=1)
                dated = _milliseconds(json.loads(answer.data)["ts"])
            except (BrokerError, ValueError, KeyError, TypeError):
                break
            took = clock.local_now_ms() - sent
            trips.append((took, dated - sent - took // 2))
        if not trips:
            return
        took, offset = min(trips)
        # Not more exact than half of the round trip, and what scheduling adds.
        clock.set_offset_ms(offset if abs(offset) > took // 2 + 5 else 0)


def api_error(what: str, error: Mapping[str, Any]) -> RefusedError:
    """The broker's refusal as an exception."""
    code = error.get("err_code", 0)
    return RefusedError(f"{what}: the broker refused: {error.get('description')} ({code})", code)


def _stored(stream: str, message: Msg) -> StoredMessage | None:
    headers = message.headers or {}
    status = headers.get("Status")
    if status in ("404", "408"):
        return None
    if status or "Nats-Sequence" not in headers:
        raise RefusedError(f"read {stream}: status {status} {headers.get('Description', '')}")
    return StoredMessage(
        headers["Nats-Subject"],
        int(headers["Nats-Sequence"]),
        headers,
        message.data,
        _milliseconds(headers.get("Nats-Time-Stamp", "")),
    )


def _milliseconds(date: str) -> int:
    """Milliseconds since 1970 of a date with nanoseconds, which Python 3.10 does not read."""
    seconds, _, fraction = date.rstrip("Z").partition(".")
    at = datetime.fromisoformat(f"{seconds}+00:00").timestamp()
    return int(at) * 1000 + int((fraction or "0")[:3].ljust(3, "0"))
