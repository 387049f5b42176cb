"""A session: four lanes of tasks that this process submits and whose results it awaits.

`core` starts what waits and tells how it ended; `trip`, `local` and `host` are the three ways a
task is run; `job` is a task on its way; `opening` is the session's entry at the broker.
"""

import contextlib
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from .broker import Broker, BrokerError, ConnectOptions, connect
from .broker.backlog import count_stored
from .broker.kept import dead_letters, find_result
from .broker.topology import Settings
from .command import Command, SessionQueueConfig, Task
from .core import Core
from .job import SubmitError, TaskHandle
from .opening import open_session, write_state
from .stats import LaneStatus, MetricsSnapshot, SessionQueueStats
from .tool import Handler, read_answer
from .trust import Signatures
from .wire import clock
from .wire.encoding import Encoding, MalformedError
from .wire.lane import LANES, SessionLane
from .wire.names import OWN, Route
from .wire.note import DeadLetter, Event, LaneHandlerConfig, mode
from .wire.result import ExternalTaskResult, TaskResult
from .wire.task import ExternalTask
from .wire.token import check_pool, check_token, unique_token

CLOSE_GRACE = 5.0
"""Seconds that running tasks have to finish when the session is closed."""
CANCEL_WITHIN = 5.0
"""Seconds in which cancelled tasks must have an answer when the session is closed."""


class Session:
    """A session. Use it as an async context manager.

    session_id: default: a new one. pool: whose workers take its tasks; own: workers that were
    started for this session take them. Without either, the route that the session has already, or
    pool `default`. encoding: of its messages. close_grace: seconds that running tasks have to
    finish when it is closed. signing_key: a file with the key that signs its tasks; default: env
    A3S_SIGNING_KEY, else ~/.config/a3s/signing.nk if it is there. trust_workers: a file with the
    keys whose results are believed; default: env A3S_TRUST_WORKERS, else all are. Others:
    `ConnectOptions`.

    A lane is handled `Internal`ly by default, by the command's own `execute`; see
    `SessionQueueConfig.with_external_lanes` and `set_lane_handler`.
    """

    def __init__(
        self,
        session_id: str | None = None,
        *,
        pool: str | None = None,
        own: bool = False,
        config: SessionQueueConfig | None = None,
        encoding: Encoding = Encoding.MESSAGEPACK,
        close_grace: float = CLOSE_GRACE,
        settings: Settings | None = None,
        signing_key: str | None = None,
        trust_workers: str | None = None,
        nats_url: str | None = None,
        context: str | None = None,
        creds: str | None = None,
        options: ConnectOptions | None = None,
    ) -> None:
        if pool and own:
            raise ValueError("a session goes to a pool or to its own workers: give pool or own")
        self.id = check_token("session id", session_id or unique_token())
        self._wanted = OWN if own else Route(check_pool(pool)) if pool else None
        self._config = config or SessionQueueConfig()
        self._encoding = encoding
        self._grace = close_grace
        self._settings = settings or Settings()
        self._options = options or ConnectOptions(nats_url, context, creds)
        self._files = (signing_key, trust_workers)
        self._core: Core | None = None

    async def __aenter__(self) -> "Session":
        """Opens it. Results that are stored from now on arrive. Raises BrokerError."""
        signatures = Signatures.of(*self._files, "worker")
        broker = await connect(self._options, f"a3s session {self.id}")
        broker.signatures = signatures
        try:
            self._core = await self._open(broker)
        except BaseException:
            await broker.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def route(self) -> Route:
        """Where its external tasks go."""
        return self._open_core.route

    async def submit(self, lane: SessionLane | str, command: Command) -> TaskHandle:
        """Puts a command at the end of a lane and returns at once, unless 10,000 tasks wait there
        already; `await` the handle for the result. The lane's handler is fixed here: a later
        change does not concern this task.

        Raises SubmitError when the session is not open or the task's id is in use, ValueError for
        a command that makes no sense.
        """
        if self._core is None:
            raise SubmitError("the session is not open: use it as `async with Session(…)`")
        job = await self._core.submit(SessionLane.parse(lane), command)
        return TaskHandle(job.task.task_id, job.task.lane, job.result)

    async def submit_by_tool(self, tool: str, command: Command | dict[str, Any]) -> TaskHandle:
        """As `submit`, to the lane where `tool` belongs. A dict is the tool's input."""
        task = Task(tool, command) if isinstance(command, dict) else command
        return await self.submit(SessionLane.from_tool_name(tool), task)

    def set_lane_handler(self, lane: SessionLane | str, config: LaneHandlerConfig) -> None:
        """Changes who handles tasks that are submitted to `lane` from now on."""
        checked = LaneHandlerConfig(mode(config.mode), max(1, config.timeout_ms))
        self._open_core.handlers[SessionLane.parse(lane)] = checked

    def get_lane_handler(self, lane: SessionLane | str) -> LaneHandlerConfig:
        """Who handles tasks that are submitted to `lane` now."""
        return self._open_core.handlers[SessionLane.parse(lane)]

    def set_external_task_handler(self, handler: Handler) -> None:
        """Handles external tasks that start from now on in this process: a worker without a
        broker."""
        self._open_core.external_handler = handler

    def pending_external_tasks(self) -> list[ExternalTask]:
        """External tasks for this process to run, each given to one caller: it is the caller's for
        30 s, or to its deadline when it may start once. From the first call on, external tasks
        that have not been given to workers yet are kept for the host."""
        core = self._open_core
        return core.host.lease(core.now())

    def complete_external_task(
        self, task_id: str, result: ExternalTaskResult | dict[str, Any]
    ) -> bool:
        """Gives a task of `pending_external_tasks` its result. False when the task is unknown or
        has ended."""
        job = self._open_core.host.withdraw(task_id)
        if job is None or job.heard.done():
            return False
        job.heard.set_result(job.answer(read_answer(result), clock.now_ms()))
        return True

    async def queue_stats(self) -> SessionQueueStats:
        """What waits in this process, and what is queued or runs, as the broker counts it; when
        it does not answer, as this process knows it."""
        core = self._open_core
        stored = await count_stored(core.broker, self.id, core.route)
        lanes, external = {}, 0
        for lane in LANES:
            waiting, running = core.waiting[lane], core.running(lane)
            here = [job for job in running if not job.publishing]
            there = stored[lane] if stored else len(running) - len(here)
            external += sum(job.mode == "External" for job in (*waiting, *here)) + there
            cap, handler = self._config.max_concurrency(lane), core.handlers[lane]
            active = len(here) + there
            lanes[lane.value] = LaneStatus(lane, len(waiting), active, cap, handler.mode)
        pending = sum(lane.pending for lane in lanes.values())
        active = sum(lane.active for lane in lanes.values())
        return SessionQueueStats(pending, active, external, lanes)

    async def queue_metrics(self) -> MetricsSnapshot | None:
        """Counters and latencies; None unless the configuration enables them."""
        return self._open_core.metrics.snapshot() if self._config.enable_metrics else None

    async def dead_letters(self) -> list[DeadLetter]:
        """The newest dead letters of this session, oldest first. Raises BrokerError."""
        letters = await dead_letters(self._open_core.broker, self.id)
        return letters[-self._config.dlq_max_size :]

    async def result(self, task_id: str) -> TaskResult | None:
        """The result of any external task of this session, also of an earlier process; None when
        it has none (yet, or any more: they are kept a day). Raises BrokerError."""
        return await find_result(self._open_core.broker, self.id, task_id)

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens in this session from this call on, until it is closed. A
        listener that lags behind by more than 1,024 events misses some."""
        return self._open_core.listeners.listen()

    async def cancel(self, task_id: str, reason: str = "cancelled by its session") -> bool:
        """Asks that a task end, also one of an earlier process: one that waits or is queued never
        starts, one that runs is stopped. False when this process has no such task; a worker that
        has it is told all the same. Raises BrokerError when that is not confirmed."""
        return await self._open_core.cancel(task_id, reason)

    async def close(self) -> None:
        """Takes no more tasks, and settles those that are there: what waits does not start, what
        runs has the grace to finish and is then cancelled. Whoever waited has an answer then."""
        core, self._core = self._core, None
        if core is None:
            return
        core.closed = True
        core.tell(core.event("queue.shutdown.started"))
        core.cancel_waiting("its session was closed before it was started")
        if not await core.is_idle_within(self._grace):
            for task_id in list(core.jobs):
                with contextlib.suppress(BrokerError):
                    await core.cancel(task_id, "its session was closed")
            await core.is_idle_within(CANCEL_WITHIN)
        with contextlib.suppress(BrokerError, MalformedError):
            await write_state(core.broker, self.id, "closed")
        core.tell(core.event("queue.shutdown.complete"))
        core.end()
        await core.broker.close()

    async def _open(self, broker: Broker) -> Core:
        record = await open_session(broker, self.id, self._wanted, self._settings)
        core = Core(broker, record, self._config, self._encoding)
        await core.listen()
        return core

    @property
    def _open_core(self) -> Core:
        if self._core is None:
            raise BrokerError("the session is not open: use it as `async with Session(…)`")
        return self._core
