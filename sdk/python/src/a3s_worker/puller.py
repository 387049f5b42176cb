"""The loop that asks the broker for tasks and starts them. It decides nothing itself: `pulls`
says what to ask, `slots` what fits, `executor` does the work."""

import asyncio
import json
from collections import deque
from collections.abc import Coroutine
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error

from .binding import Binding
from .broker import Broker
from .broker.broker import log
from .delivery import Delivery, read_delivery
from .executor import Executor
from .pulls import EXPIRES, HEARTBEAT, Pull, Pulls, Status
from .slots import Slots
from .wire import clock
from .wire.lane import LANES, SessionLane

HELD_AT_MOST = 1.0
"""Seconds that a surplus task waits here for a slot before somebody else gets it."""
DRAIN_AT_MOST = 2.0
"""Seconds that a draining worker waits for what the broker has sent already."""
QUIET = 0.1
"""Seconds in which nothing may come before a draining worker stops to listen."""
LOOK_AROUND = 1.0
"""The longest time that the loop sleeps without looking around."""


class Puller:
    """The loop's state. `last_pull_ms` is read by the heartbeat; `running` holds a task of the
    event loop for each delivery that is not settled yet."""

    def __init__(self, broker: Broker, executor: Executor, binding: Binding, slots: Slots) -> None:
        self._broker = broker
        self._executor = executor
        self._binding = binding
        self._slots = slots
        self._pulls = Pulls(binding.consumers, binding.capped)
        self._held: dict[SessionLane, deque[Delivery]] = {lane: deque() for lane in LANES}
        self._loop = asyncio.get_running_loop()
        self._inbox = broker.client.new_inbox()
        self._subscription: Subscription | None = None
        self._wake = asyncio.Event()
        self._heard = asyncio.Event()
        self._stopping = False
        self.running: set[asyncio.Task[None]] = set()
        self.last_pull_ms = 0
        slots.on_returned = self._wake.set

    async def listen(self) -> None:
        """Listens for what pulls bring, before the first one is sent. The inbox lives as long as
        the worker: what the broker sends to nobody has cost a delivery."""
        self._subscription = await self._broker.client.subscribe(
            f"{self._inbox}.*.*", cb=self._on_message
        )
        self._broker.on_connected.append(self._on_connected)

    def stop(self) -> None:
        """Ends the loop."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Pulls and starts tasks until `stop`, then gives back what is held."""
        while not self._stopping:
            hold_until = self._start_what_fits()
            await self._ask()
            wake_at = min(
                self._loop.time() + LOOK_AROUND,
                self._pulls.wake_at() or float("inf"),
                hold_until or float("inf"),
            )
            timer = self._loop.call_at(wake_at, self._wake.set)
            await self._wake.wait()
            timer.cancel()
            self._wake.clear()
        await self._give_back()

    def _start_what_fits(self) -> float | None:
        """Starts held tasks, highest lane first, and gives back what waited too long. Returns
        when the next held task may start, if time alone can tell."""
        wait_until = None
        for lane, held in self._held.items():
            while held:
                now = self._loop.time()
                may_start = self._pulls.may_start(lane, now)
                free = self._slots.free(lane) > 0
                if free and may_start is not None and may_start <= now:
                    slot = self._slots.take(lane)
                    assert slot is not None, "a slot is free"
                    self._spawn(self._executor.run(held.popleft(), slot))
                elif now - held[0].received > HELD_AT_MOST:
                    self._spawn(self._executor.return_unstarted(held.popleft()))
                else:
                    wait_until = may_start if free and may_start is not None else wait_until
                    break
        return wait_until

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.running.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("a task was left to its redelivery", exc_info=error)

    async def _ask(self) -> None:
        def free(lane: SessionLane) -> int:
            # What is held already has a claim on the slots that are free.
            return self._slots.free(lane) - len(self._held[lane])

        if not self._broker.client.is_connected:
            return
        for pull in self._pulls.plan(self._loop.time(), free):
            try:
                await self._send(pull)
            except (Error, OSError) as error:
                log.warning("a pull of lane %s could not be sent: %s", pull.lane.id, error)
                self._pulls.status(pull.lane, pull.id, Status.REFUSED, self._loop.time())

    async def _send(self, pull: Pull) -> None:
        body: dict[str, Any] = {"batch": pull.batch, "no_wait": True}
        if pull.waits:
            body = {
                "batch": pull.batch,
                "expires": int(EXPIRES * 1e9),
                "idle_heartbeat": int(HEARTBEAT * 1e9),
            }
        body.update(self._binding.turn)
        consumer = self._binding.consumers[pull.lane]
        subject = f"{self._broker.api}.CONSUMER.MSG.NEXT.{self._binding.stream}.{consumer}"
        reply = f"{self._inbox}.{pull.lane.id}.{pull.id}"
        await self._broker.client.publish(subject, json.dumps(body).encode(), reply)

    async def _on_message(self, message: Msg) -> None:
        self.last_pull_ms = clock.now_ms()
        self._heard.set()
        status = (message.headers or {}).get("Status")
        if status and not message.reply:
            self._on_status(message, status)
        elif delivery := read_delivery(self._broker, message, self._loop.time()):
            lane = delivery.stored.address.lane
            self._pulls.arrived(lane)
            self._held[lane].append(delivery)
        else:
            log.warning("a message that is no task came to the inbox of pulls")
        self._wake.set()

    def _on_status(self, message: Msg, code: str) -> None:
        *_, lane, pull = message.subject.split(".")
        status = {"100": Status.HEARTBEAT, "404": Status.EMPTY, "408": Status.EMPTY}.get(code)
        if status is None:
            said = (message.headers or {}).get("Description", "")
            log.warning("the broker refused a pull of lane %s: %s %s", lane, code, said)
        self._pulls.status(
            SessionLane.parse(lane), int(pull), status or Status.REFUSED, self._loop.time()
        )

    def _on_connected(self) -> None:
        self._pulls.forget_all()
        self._wake.set()

    async def _give_back(self) -> None:
        """Ends the pulls at the broker and gives back what they brought."""
        try:
            await asyncio.wait_for(self._listen_to_the_end(), DRAIN_AT_MOST)
        except (Error, OSError, asyncio.TimeoutError):
            log.warning("what the broker sent last is left to its redelivery")
        for held in self._held.values():
            while held:
                self._spawn(self._executor.return_unstarted(held.popleft()))

    async def _listen_to_the_end(self) -> None:
        """The inbox is drained, not dropped: what the broker sent before it heard of the end has
        cost a delivery. And what it is about to send at the moment it hears of it is lost for a
        lease, so pulls that something waits for are filled first: that takes milliseconds."""
        while self._pulls.any_wait():
            self._heard.clear()
            try:
                await asyncio.wait_for(self._heard.wait(), QUIET)
            except asyncio.TimeoutError:
                break
        if self._subscription is not None:
            await self._subscription.drain()  # type: ignore[no-untyped-call]
