"""What a worker says of itself: a heartbeat in the bucket of workers, and a NATS micro service
that the `nats` CLI shows."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error
from nats.micro import add_service

from .broker import Broker, BrokerError
from .broker.broker import log
from .broker.kept import delete_value, put_value

EVERY = 5.0
"""Seconds between two heartbeats."""


class Presence:
    """Tells that a worker is there. `heartbeat` makes the heartbeat of the moment; `tool_info` is
    what is said of its tools."""

    def __init__(
        self,
        broker: Broker,
        worker_id: str,
        heartbeat: Callable[[], dict[str, Any]],
        tool_info: Mapping[str, Any],
    ) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._heartbeat = heartbeat
        self._tool_info = tool_info
        self._now = asyncio.Event()

    def tell_now(self) -> None:
        """Something changed that others should know."""
        self._now.set()

    async def announce(self) -> None:
        """Writes heartbeats for ever: at once, every five seconds, and when told."""
        while True:
            body = json.dumps(self._heartbeat()).encode()
            try:
                await put_value(self._broker, "workers", self._worker_id, body)
            except BrokerError as error:
                log.warning("the heartbeat was not written: %s", error)
            timer = asyncio.get_running_loop().call_later(EVERY, self._now.set)
            await self._now.wait()
            timer.cancel()
            self._now.clear()

    async def serve(self, version: str) -> None:
        """Answers `nats micro ls`, and requests to the worker's own subject. A server that does
        not permit it is no error."""
        client, names = self._broker.client, self._broker.names
        try:
            await client.subscribe(names.worker(self._worker_id), cb=self._answer)
            await add_service(
                client,
                name=f"{names.prefix}-worker",
                version=version,
                description="Runs tasks of A3S sessions",
                metadata={"worker_id": self._worker_id},
            )
        except Error as error:
            log.debug("the worker is not registered as a micro service: %s", error)

    async def farewell(self) -> None:
        """Deletes the heartbeat."""
        try:
            await delete_value(self._broker, "workers", self._worker_id)
        except BrokerError as error:
            log.debug("the heartbeat ends by itself: %s", error)

    async def _answer(self, message: Msg) -> None:
        if message.reply:
            answer = {**self._heartbeat(), "tool_info": self._tool_info}
            self._broker.tell(message.reply, json.dumps(answer).encode())
