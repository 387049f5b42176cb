"""One delivery of a task: what the broker handed over, and the ways to answer the broker."""

import json
from dataclasses import dataclass

from nats.aio.msg import Msg
from nats.errors import Error

from .broker import Broker, BrokerError
from .wire.stored import StoredTask
from .wire.task import TaskHeaders

DONE = b"+ACK"
WORKING = b"+WPI"

_TRIES = 3


def again(delay_ms: float) -> bytes:
    """The answer: deliver it again after this time."""
    return b"-NAK %s" % json.dumps({"delay": int(delay_ms * 1e6)}).encode() if delay_ms else b"-NAK"


@dataclass
class Delivery:
    """A delivery whose subject and broker data are understood; its body may still be nonsense.

    delivered: how often the broker has delivered it, this time included. received: when, in
    seconds on a monotonic clock.
    """

    broker: Broker
    stored: StoredTask
    delivered: int
    received: float
    reply: str

    async def answer(self, answer: bytes) -> bool:
        """Tells the broker, and waits for its word that it heard. False: it did not answer, and
        the task is left to its redelivery."""
        for _ in range(_TRIES):
            if await self.answer_once(answer):
                return True
        return False

    async def answer_once(self, answer: bytes, timeout: float = 5.0) -> bool:
        """As `answer`, without repetition, within `timeout` seconds."""
        try:
            await self.broker.request(self.reply, answer, timeout=timeout)
        except (BrokerError, Error, OSError):
            return False
        return True


def read_delivery(broker: Broker, message: Msg, received: float) -> Delivery | None:
    """Reads what the broker says of a message; None when it is no delivery of a task."""
    address = broker.names.parse_task(message.subject)
    tokens = message.reply.split(".")
    if address is None or tokens[:2] != ["$JS", "ACK"]:
        return None
    if len(tokens) >= 11:
        tokens = tokens[2:]  # a domain and an account hash come first
    try:
        stream = tokens[2]
        delivered, sequence, _, stored_at = (int(token) for token in tokens[4:8])
    except (ValueError, IndexError):
        return None
    headers = message.headers or {}
    stored = StoredTask(
        names=broker.names,
        stream=stream,
        subject=message.subject,
        address=address,
        sequence=sequence,
        stored_at_ms=stored_at // 1_000_000,
        raw_headers=headers,
        headers=TaskHeaders.read(headers),
        body=message.data,
    )
    return Delivery(broker, stored, max(delivered, 1), received, message.reply)
