"""A worker's life: it binds to its lanes, serves, drains, and says goodbye."""

import asyncio
import hashlib
import json
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import rights
from .binding import Binding, bind
from .broker import Broker, ConnectOptions, DeniedError, connect
from .broker.broker import log
from .broker.topology import Settings
from .cancels import Cancels
from .executor import Executor
from .presence import Presence
from .puller import Puller
from .settle import Settler
from .slots import Slots
from .tool import H, Handler
from .trust import Signatures
from .turn import Turn
from .wire import clock
from .wire.lane import LANES, SessionLane
from .wire.names import DEFAULT_POOL, OWN, Route
from .wire.token import check_pool, check_token, unique_token

FAREWELL = 5.0
"""Seconds that are left to a stopped worker for its last words to the broker."""


class Worker:
    """Runs tasks with the tools that are registered with `tool`.

    session_id: serve the own lanes of one session; default: env SESSION_ID.
    pool: serve the sessions that are routed to this pool; default: env A3S_POOL, else `default`.
    lanes: default: all of them. concurrency: tasks at a time, beside one of the Control lane;
    default: the number of cores. drain: seconds that a drain waits for running tools, 30
    by default.
    distance, help_when: when it gets a task that others of its pool would take too; see `Turn`.
    Default: env A3S_DISTANCE, A3S_HELP_WHEN, else the last of all.
    labels: what else is to be said of it.
    signing_key: a file with the key that signs its results; default: env A3S_SIGNING_KEY, else
    ~/.config/a3s/signing.nk if it is there. trust: a file with the keys whose tasks it runs;
    default: env A3S_TRUST, else it runs everybody's. Others: `ConnectOptions`.

    Raises ValueError for what cannot work.
    """

    def __init__(
        self,
        *,
        session_id: str | None = None,
        pool: str | None = None,
        lanes: Sequence[SessionLane | str] | None = None,
        concurrency: int | None = None,
        worker_id: str | None = None,
        drain: float | None = None,
        distance: int | None = None,
        help_when: int | None = None,
        labels: Mapping[str, str] | None = None,
        settings: Settings | None = None,
        signing_key: str | None = None,
        trust: str | None = None,
        nats_url: str | None = None,
        context: str | None = None,
        creds: str | None = None,
        options: ConnectOptions | None = None,
    ) -> None:
        if session_id and pool:
            raise ValueError("a worker serves a session or a pool: give session_id or pool")
        if not pool:
            session_id = session_id or os.environ.get("SESSION_ID") or None
        self._session = check_token("session id", session_id) if session_id else ""
        pool = check_pool(pool or os.environ.get("A3S_POOL") or DEFAULT_POOL)
        self._route = OWN if self._session else Route(pool)
        named = lanes or os.environ.get("A3S_LANES", "").split(",")
        chosen = [SessionLane.parse(lane) for lane in named if lane]
        self._lanes = [lane for lane in LANES if lane in chosen or not chosen]
        self._concurrency = concurrency or int(os.environ.get("A3S_CONCURRENCY") or 0)
        self._concurrency = self._concurrency or os.cpu_count() or 1
        if self._concurrency < 1:
            raise ValueError(f"concurrency is {self._concurrency}: it takes one slot at least")
        self.id = check_token(
            "worker id", worker_id or os.environ.get("A3S_WORKER_ID") or unique_token()
        )
        self._drain = float(os.environ.get("A3S_DRAIN") or 30) if drain is None else drain
        if distance is None and help_when is None and not self._session:
            distance, help_when = _env_number("A3S_DISTANCE"), _env_number("A3S_HELP_WHEN")
        self._turn = Turn(distance, help_when)
        if self._session and self._turn != Turn():
            raise ValueError("distance and help_when are for workers of a pool")
        self._labels = dict(labels or {})
        self._files = (signing_key, trust)
        self._settings = settings or Settings()
        self._options = options or ConnectOptions(nats_url, context, creds)
        self._tools: dict[str, Handler] = {}
        self._tool_info: dict[str, dict[str, Any]] = {}
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._ready = asyncio.Event()

    def tool(
        self,
        *names: str,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
        annotations: Mapping[str, bool] | None = None,
    ) -> Callable[[H], H]:
        """Registers a function as the tool of these names; see `Handler`.

        The others are for agents that may call it: what it does, the JSON Schema of its payload,
        and what a call may do (`read_only`, `destructive`, `idempotent`, `open_world`).
        """
        said = {
            "description": description,
            "input_schema": dict(input_schema) if input_schema is not None else None,
            "annotations": dict(annotations) if annotations else None,
        }
        info = {key: value for key, value in said.items() if value is not None}

        def register(handler: H) -> H:
            for name in names:
                self._tools[name] = handler
                self._tool_info.pop(name, None)
                if info:
                    self._tool_info[name] = info
            return handler

        return register

    def stop(self) -> None:
        """Asks to drain; the second time, to stop now. From the thread of the event loop."""
        (self._stop_now if self._stop.is_set() else self._stop).set()

    async def ready(self) -> None:
        """Waits until the worker listens for tasks."""
        await self._ready.wait()

    def serve(self) -> None:
        """Runs until SIGTERM or Ctrl-C; for a program that does nothing else."""
        asyncio.run(self.run(signals=True))

    async def run(self, *, signals: bool = False) -> None:
        """Serves until `stop` (with `signals`: until SIGTERM or SIGINT) asks to drain; then
        finishes what runs, within the drain time, gives back what it cannot finish, and says
        goodbye. A worker runs once.

        Raises BrokerError when it cannot start (DeniedError when its credential does not permit its
        work), ValueError when it has no tool.
        """
        if not self._tools:
            raise ValueError("the worker has no tools: register one with @worker.tool(name)")
        if signals:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
        signatures = Signatures.of(*self._files, "coordinator")
        broker = await connect(self._options, f"a3s worker {self.id}")
        broker.signatures = signatures
        try:
            cancels = Cancels(broker, self._session or None)
            try:
                binding = await self._bind(broker)
                following = await cancels.start()
            except DeniedError as error:
                raise error.of("this worker") from error
            await self._serve(broker, binding, cancels, following)
        finally:
            await broker.close()

    async def _bind(self, broker: Broker) -> Binding:
        binding = await bind(
            broker, self._route, self._session, self._lanes, self._settings, self._turn
        )
        await rights.check(broker, self.id, self._session, binding)
        await broker.measure_clock(binding.question())
        return binding

    async def _serve(
        self,
        broker: Broker,
        binding: Binding,
        cancels: Cancels,
        following: "asyncio.Task[None]",
    ) -> None:
        slots = Slots(self._concurrency, SessionLane.CONTROL in self._lanes)
        settler = Settler(broker, self.id)
        executor = Executor(broker, settler, self._tools, cancels, binding.ack_wait)
        puller = Puller(broker, executor, binding, slots)
        started_at_ms = clock.now_ms()
        draining = False

        def heartbeat() -> dict[str, Any]:
            return {
                **self._describe(),
                "busy": slots.busy,
                "done": settler.done,
                "refused": broker.signatures.refused,
                "started_at_ms": started_at_ms,
                "last_pull_ms": puller.last_pull_ms,
                "seen_at_ms": clock.now_ms(),
                "draining": draining,
            }

        presence = Presence(broker, self.id, heartbeat, self._tool_info)
        await presence.serve(_version())
        await puller.listen()
        announcing = asyncio.create_task(presence.announce())
        pulling = asyncio.create_task(puller.run())
        self._ready.set()
        log.info("worker %s serves %s", self.id, ", ".join(lane.id for lane in self._lanes))
        try:
            await self._until_stop(pulling)
            puller.stop()
            await pulling
            draining = True
            presence.tell_now()
            await self._finish(executor, puller)
            # One that is still to be written would come back after the farewell.
            announcing.cancel()
            await presence.farewell()
        finally:
            for task in (following, announcing):
                task.cancel()

    async def _until_stop(self, pulling: "asyncio.Task[None]") -> None:
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait((stop, pulling), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()

    async def _finish(self, executor: Executor, puller: Puller) -> None:
        """Lets running tools finish, within the drain time and until asked to stop now; then stops
        them, and waits for the last words to the broker."""
        if puller.running:
            stop_now = asyncio.create_task(self._stop_now.wait())
            finished = asyncio.gather(*puller.running, return_exceptions=True)
            await asyncio.wait(
                (finished, stop_now), timeout=self._drain, return_when=asyncio.FIRST_COMPLETED
            )
            stop_now.cancel()
        executor.stop_all()
        if puller.running:
            _, late = await asyncio.wait(puller.running, timeout=FAREWELL)
            for task in late:
                task.cancel()
                log.warning("a task could not be given back; its lease ends by itself")

    def _describe(self) -> dict[str, Any]:
        serves = {"session": self._session} if self._session else {"pool": self._route.pool}
        return {
            "worker_id": self.id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": _version(),
            "runtime": "python",
            "serves": serves,
            "lanes": [lane.value for lane in self._lanes],
            "tools": sorted(self._tools),
            "slots": self._concurrency,
            "workspace": os.getcwd(),
            "labels": {**self._labels, **self._turn.labels()},
            **self._digest(),
        }

    def _digest(self) -> dict[str, str]:
        """By which others see that what is said of the tools has changed."""
        if not self._tool_info:
            return {}
        text = json.dumps(self._tool_info, sort_keys=True).encode()
        return {"tool_digest": hashlib.sha256(text).hexdigest()[:16]}


def _env_number(name: str) -> int | None:
    text = os.environ.get(name)
    return int(text) if text else None


def _version() -> str:
    try:
        return version("a3s-worker")
    except PackageNotFoundError:
        return "0.0.0"
