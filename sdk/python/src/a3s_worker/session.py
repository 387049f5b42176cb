"""A session: four lanes of tasks that this process submits and whose results it awaits."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from nats.aio.msg import Msg

from .broker import Broker, BrokerError, ConflictError, ConnectOptions, connect
from .broker.broker import log
from .broker.kept import (
    dead_letters,
    find_result,
    mark_cancelled,
    read_result,
    read_session,
    write_session,
)
from .broker.topology import Settings, ensure, ensure_consumers
from .cancels import Cancels
from .command import Command, SessionQueueConfig, Task, as_task
from .job import HERE, Job, SubmitError, TaskHandle
from .stats import LaneStatus, Metrics, MetricsSnapshot, SessionQueueStats
from .tool import Handler, call, read_answer
from .trip import Trip
from .wire import clock
from .wire.encoding import Encoding, MalformedError
from .wire.lane import LANES, Effect, SessionLane
from .wire.names import OWN, Route
from .wire.note import DeadLetter, Event, LaneHandlerConfig, SessionRecord, mode
from .wire.result import ExternalTaskResult, Outcome, TaskResult
from .wire.retry import NO_RETRY, RetryPolicy
from .wire.task import ExternalTask
from .wire.token import check_pool, check_token, unique_token

CLOSE_GRACE = 5.0
"""Seconds that running tasks have to finish when the session is closed."""
CANCEL_WITHIN = 5.0
"""Seconds in which cancelled tasks must have an answer when the session is closed."""
HOST_LEASE = 30.0
"""Seconds that the host has a task that may be started again, before it is given out again."""
EVENTS_KEPT = 1_024
"""Events that wait for a listener that lags behind; older ones are dropped."""

_ENDS = {
    Outcome.COMPLETED: "completed",
    Outcome.TIMED_OUT: "timeout",
    Outcome.DEAD_LETTERED: "dead_lettered",
}


class _Host:
    """External tasks that the host of this process pulls and completes itself."""

    def __init__(self) -> None:
        self.pulls = False
        self.offered: dict[str, tuple[Job, float | None]] = {}

    def lease(self, now: float) -> list[ExternalTask]:
        """Every task that nobody has."""
        self.pulls = True
        leased = []
        for task_id, (job, until) in self.offered.items():
            once = job.task.effect is Effect.ONCE
            if until is None or (until <= now and not once):
                self.offered[task_id] = (job, now + HOST_LEASE)
                leased.append(job.task)
        return leased


class Session:
    """A session. Use it as an async context manager.

    session_id: default: a new one. pool: whose workers take its tasks; own: workers that were
    started for this session take them. Without either, the route that the session has already, or
    pool `default`. encoding: of its messages. Others: `ConnectOptions`.

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
        nats_url: str | None = None,
        context: str | None = None,
        creds: str | None = None,
        options: ConnectOptions | None = None,
    ) -> None:
        if pool and own:
            raise ValueError("a session goes to a pool or to its own workers: give pool or own")
        self.id = check_token("session id", session_id or unique_token())
        self._wanted = OWN if own else Route(check_pool(pool)) if pool else None
        self.route = self._wanted or Route()
        self._config = config or SessionQueueConfig()
        self._encoding = encoding
        self._grace = close_grace
        self._settings = settings or Settings()
        self._options = options or ConnectOptions(nats_url, context, creds)
        self._handlers = {lane: self._config.handler(lane) for lane in LANES}
        self._external_handler: Handler | None = None
        self._waiting: dict[SessionLane, deque[Job]] = {lane: deque() for lane in LANES}
        self._active: dict[SessionLane, int] = dict.fromkeys(LANES, 0)
        self._jobs: dict[str, Job] = {}
        self._host = _Host()
        self._metrics = Metrics()
        self._listeners: set[asyncio.Queue[Event | None]] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._paused = False
        self._closed = False
        self._broker_: Broker | None = None
        self._cancels: Cancels | None = None

    async def __aenter__(self) -> "Session":
        self._broker_ = await connect(self._options, f"a3s session {self.id}")
        try:
            await self._open(self._broker)
        except BaseException:
            await self._broker.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def submit(self, lane: SessionLane | str, command: Command) -> TaskHandle:
        """Puts a command at the end of a lane and returns at once; `await` the handle for the
        result. The lane's handler is fixed here: a later change does not concern this task.

        Raises SubmitError when the session is closed, ValueError for a command that makes no
        sense.
        """
        if self._closed or self._broker_ is None:
            raise SubmitError("the session is not open: use it as `async with Session(…)`")
        job = self._job(SessionLane.parse(lane), command)
        if job.task.task_id in self._jobs:
            raise SubmitError(f"task id {job.task.task_id!r} is in use in this session")
        self._jobs[job.task.task_id] = job
        self._waiting[job.task.lane].append(job)
        self._metrics.submitted(job.task.lane)
        if self._cancels is not None:
            self._cancels.watch(
                self.id, job.task.task_id, lambda: self._cancel_here(job, "cancelled")
            )
        asyncio.get_running_loop().call_later(job.task.remaining_ms() / 1000, self._too_late, job)
        self._pump(job.task.lane)
        return TaskHandle(job.task.task_id, job.task.lane, job.result)

    async def submit_by_tool(self, tool: str, command: Command | dict[str, Any]) -> TaskHandle:
        """As `submit`, to the lane where `tool` belongs. A dict is the tool's input."""
        task = Task(tool, command) if isinstance(command, dict) else command
        return await self.submit(SessionLane.from_tool_name(tool), task)

    def set_lane_handler(self, lane: SessionLane | str, config: LaneHandlerConfig) -> None:
        """Changes who handles tasks that are submitted to `lane` from now on."""
        checked = LaneHandlerConfig(mode(config.mode), max(1, config.timeout_ms))
        self._handlers[SessionLane.parse(lane)] = checked

    def get_lane_handler(self, lane: SessionLane | str) -> LaneHandlerConfig:
        """Who handles tasks that are submitted to `lane` now."""
        return self._handlers[SessionLane.parse(lane)]

    def set_external_task_handler(self, handler: Handler) -> None:
        """Handles external tasks that are submitted from now on in this process: a worker without
        a broker."""
        self._external_handler = handler

    def pending_external_tasks(self) -> list[ExternalTask]:
        """External tasks for this process to run, each given to one caller: it is the caller's for
        30 s, or to its deadline when it may start once. From the first call on, external tasks
        that have not been given to workers yet are kept for the host."""
        return self._host.lease(asyncio.get_running_loop().time())

    def complete_external_task(
        self, task_id: str, result: ExternalTaskResult | dict[str, Any]
    ) -> bool:
        """Gives a task of `pending_external_tasks` its result. False when the task is unknown or
        has ended."""
        job, _ = self._host.offered.pop(task_id, (None, None))
        if job is None or job.heard.done():
            return False
        job.heard.set_result(job.answer(read_answer(result), clock.now_ms()))
        return True

    async def queue_stats(self) -> SessionQueueStats:
        """What waits in this process, and what is queued or runs, as the broker counts it; when
        it does not answer, as this process knows it."""
        stored = await self._count_stored()
        lanes, external = {}, 0
        for lane in LANES:
            waiting, running = self._waiting[lane], self._running(lane)
            here = [job for job in running if not job.published]
            at_broker = len(running) - len(here) if stored is None else stored[lane]
            active = len(here) + at_broker
            external += sum(job.mode == "External" for job in (*waiting, *here)) + at_broker
            handler = self._handlers[lane]
            cap = self._config.max_concurrency(lane)
            lanes[lane.value] = LaneStatus(lane, len(waiting), active, cap, handler.mode)
        pending = sum(lane.pending for lane in lanes.values())
        active_in_all = sum(lane.active for lane in lanes.values())
        return SessionQueueStats(pending, active_in_all, external, lanes)

    async def queue_metrics(self) -> MetricsSnapshot | None:
        """Counters and latencies; None unless the configuration enables them."""
        return self._metrics.snapshot() if self._config.enable_metrics else None

    async def dead_letters(self) -> list[DeadLetter]:
        """The newest dead letters of this session, oldest first. Raises BrokerError."""
        return (await dead_letters(self._broker, self.id))[-self._config.dlq_max_size :]

    async def result(self, task_id: str) -> TaskResult | None:
        """The result of any external task of this session, also of an earlier process; None when
        it has none (yet, or any more: they are kept a day). Raises BrokerError."""
        return await find_result(self._broker, self.id, task_id)

    def events(self) -> AsyncIterator[Event]:
        """Everything that happens in this session from this call on, until it is closed. A
        listener that lags behind by more than 1,024 events misses some."""
        queue: asyncio.Queue[Event | None] = asyncio.Queue(EVENTS_KEPT)
        self._listeners.add(queue)

        async def listen() -> AsyncIterator[Event]:
            try:
                while (event := await queue.get()) is not None:
                    yield event
            finally:
                self._listeners.discard(queue)

        return listen()

    async def cancel(self, task_id: str, reason: str = "cancelled by its session") -> bool:
        """Asks that a task end, also one of an earlier process: one that waits or is queued never
        starts, one that runs is stopped. False when this process has no such task; a worker that
        has it is told all the same. Raises BrokerError when that is not confirmed."""
        job = self._jobs.get(task_id)
        if job is None or not self._cancel_here(job, reason) or job.published:
            deadline = job.task.deadline_ms if job else clock.now_ms()
            await mark_cancelled(self._broker, self.id, task_id, reason, deadline)
        return job is not None

    async def close(self) -> None:
        """Takes no more tasks, and settles those that are there: what waits does not start, what
        runs has the grace to finish and is then cancelled. Whoever waited has an answer then."""
        if self._closed or self._broker_ is None:
            return
        self._closed = True
        self._tell(self._event("queue.shutdown.started"))
        for lane in LANES:
            for job in list(self._waiting[lane]):
                self._cancel_here(job, "its session was closed before it was started")
        if not await self._idle_within(self._grace):
            for task_id in list(self._jobs):
                with contextlib.suppress(BrokerError):
                    await self.cancel(task_id, "its session was closed")
            await self._idle_within(CANCEL_WITHIN)
        with contextlib.suppress(BrokerError, MalformedError):
            await self._write_state("closed")
        self._tell(self._event("queue.shutdown.complete"))
        for queue in self._listeners:
            _put(queue, None)
        for task in self._background:
            task.cancel()
        await self._broker.close()

    @property
    def _broker(self) -> Broker:
        if self._broker_ is None:
            raise BrokerError("the session is not open: use it as `async with Session(…)`")
        return self._broker_

    async def _open(self, broker: Broker) -> None:
        try:
            await broker.call(f"STREAM.INFO.{broker.names.stream('TASKS')}")
        except BrokerError:
            await ensure(broker, self._settings)
        await self._open_record(broker)
        await ensure_consumers(broker, self.route, self.id, self._settings)
        await broker.measure_clock(broker.names.tasks(self.route))
        self._cancels = Cancels(broker, self.id)
        self._background.add(await self._cancels.start())
        bucket = broker.names.bucket("sessions")
        subscribe = broker.client.subscribe
        await subscribe(broker.names.of_task(self.id, "done", "*"), cb=self._on_done)
        await subscribe(broker.names.event(self.id, ">"), cb=self._on_event)
        await subscribe(f"$KV.{bucket}.{self.id}", cb=self._on_record)
        # What is stored from now on arrives.
        await broker.client.flush()
        broker.on_connected.append(self._look_for_all)

    async def _open_record(self, broker: Broker) -> None:
        for _ in range(5):
            record, revision = await read_session(broker, self.id)
            opened = SessionRecord(self.id, self.route, clock.now_ms())
            if record is not None:
                closed = record.state == "closed"
                if self._wanted not in (None, record.route) and not closed:
                    raise BrokerError(
                        f"session {self.id} goes to {record.route}, not to {self._wanted}: open it "
                        "without a route, or end it first"
                    )
                self.route = (self._wanted if closed else None) or record.route
                self._paused = record.state == "paused"
                opened = SessionRecord(**{**vars(record), "route": self.route})
                opened.state = "open" if closed else record.state
            if opened == record:
                return
            with contextlib.suppress(ConflictError):
                await write_session(broker, opened, revision)
                return
        raise BrokerError(f"the record of session {self.id} is written by others all the time")

    async def _write_state(self, state: str) -> None:
        record, revision = await read_session(self._broker, self.id)
        if record is not None:
            record.state = state
            await write_session(self._broker, record, revision)

    def _job(self, lane: SessionLane, command: Command) -> Job:
        said, handler = as_task(command), self._handlers[lane]
        timeout_ms = said.timeout_ms or handler.timeout_ms
        effect = said.effect or lane.default_effect
        default = NO_RETRY if effect is Effect.ONCE else RetryPolicy()
        now = clock.now_ms()
        task = ExternalTask(
            said.id or unique_token(),
            self.id,
            lane,
            said.command_type,
            said.payload,
            timeout_ms,
            now + timeout_ms,
            effect=effect,
        )
        loop = asyncio.get_running_loop()
        return Job(
            task=task,
            said=said,
            command=command,
            mode=handler.mode,
            retry=said.retry or self._config.retry_policy or default,
            submitted_ms=now,
            began=loop.time(),
            result=loop.create_future(),
            heard=loop.create_future(),
            cancel=loop.create_future(),
        )

    def _pump(self, lane: SessionLane) -> None:
        """Starts what may start now. In an own lane the broker holds the cap."""
        waiting, cap = self._waiting[lane], self._config.max_concurrency(lane)
        if self._paused and lane is not SessionLane.CONTROL:
            return
        while waiting and (self._active[lane] < cap or self._goes_to_own(waiting[0])):
            job = waiting.popleft()
            self._active[lane] += 1
            self._spawn(self._run(job))

    def _goes_to_own(self, job: Job) -> bool:
        here = self._external_handler is not None or self._host.pulls
        return self.route.is_own and job.mode == "External" and not here

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _run(self, job: Job) -> None:
        try:
            result, told = await self._outcome(job)
        except (SubmitError, BrokerError) as error:
            self._end(job)
            if not job.result.done():
                job.result.set_exception(error)
                job.result.exception()  # nobody may be waiting
        else:
            self._end(job)
            self._conclude(job, result, told)
        self._active[job.task.lane] -= 1
        self._pump(job.task.lane)

    async def _outcome(self, job: Job) -> tuple[TaskResult, bool]:
        """A task's result, and whether its worker has told the world."""
        if job.mode != "External":
            execute = getattr(job.command, "execute", None)
            return await self._run_here(job, execute and (lambda _: execute())), False
        if self._external_handler is not None:
            return await self._run_here(job, self._external_handler), False
        if self._host.pulls:
            self._host.offered[job.task.task_id] = (job, None)
            return await self._wait_here(job), False
        trip = Trip(self._broker, self.route, self._encoding, job)
        if job.said.id and (found := await trip.find_earlier()):
            return found, True
        if await trip.publish():
            self._tell(self._event("queue.command.submitted", job), world=True)
            if found := await trip.find_earlier():
                return found, True
        return await trip.wait(), not trip.settled_here

    async def _run_here(self, job: Job, handler: Handler | None) -> TaskResult:
        if handler is None:
            tool = job.task.command_type
            error = (
                f"tool {tool!r} is run by workers, not in this process: set its lane to External"
            )
            return job.answer(ExternalTaskResult(False, {}, error))
        started = clock.now_ms()
        self._tell(self._event("queue.command.started", job), world=job.mode == "Hybrid")
        work = asyncio.ensure_future(call(handler, job.task))

        def ended(_: "asyncio.Future[Any]") -> None:
            if not job.heard.done():
                job.heard.set_result(_answer(job, work, started))

        work.add_done_callback(ended)
        try:
            return await self._wait_here(job)
        finally:
            work.cancel()

    async def _wait_here(self, job: Job) -> TaskResult:
        """Waits for a result that comes from this process, to the deadline at most."""
        left = job.task.remaining_ms() / 1000
        await asyncio.wait(
            (job.heard, job.cancel), timeout=left, return_when=asyncio.FIRST_COMPLETED
        )
        self._host.offered.pop(job.task.task_id, None)
        if job.heard.done():
            return job.heard.result()
        if job.cancel.done():
            return job.was_cancelled(job.cancel.result())
        return job.timed_out("while it ran")

    def _too_late(self, job: Job) -> None:
        if job in self._waiting[job.task.lane]:
            self._drop_waiting(job, job.timed_out("while it waited for its turn"))

    def _cancel_here(self, job: Job, reason: str) -> bool:
        """Ends a task as far as this process can. False when it has ended."""
        if job.result.done():
            return False
        if job in self._waiting[job.task.lane]:
            self._drop_waiting(job, job.was_cancelled(reason))
        elif not job.cancel.done():
            job.cancel.set_result(reason)
        return True

    def _drop_waiting(self, job: Job, result: TaskResult) -> None:
        self._waiting[job.task.lane].remove(job)
        self._end(job)
        self._conclude(job, result, told=False)

    def _end(self, job: Job) -> None:
        self._jobs.pop(job.task.task_id, None)
        if self._cancels is not None:
            self._cancels.unwatch(self.id, job.task.task_id)

    def _conclude(self, job: Job, result: TaskResult, told: bool) -> None:
        seconds = asyncio.get_running_loop().time() - job.began
        self._metrics.ended(job.task.lane, result.outcome, seconds)
        if not told:
            event = self._event(f"queue.command.{_ENDS.get(result.outcome, 'failed')}", job)
            event.worker_id, event.attempt = result.worker_id, result.attempt
            event.duration_ms, event.error = result.duration_ms, result.error
            self._tell(event, world=job.mode != "Internal")
        if not job.result.done():
            job.result.set_result(result)

    def _running(self, lane: SessionLane) -> list[Job]:
        waiting = {id(job) for job in self._waiting[lane]}
        return [j for j in self._jobs.values() if j.task.lane is lane and id(j) not in waiting]

    async def _count_stored(self) -> dict[SessionLane, int] | None:
        """How many tasks of the session the broker holds, by lane; None when it does not say."""
        names = self._broker.names
        counts = {}
        for lane in LANES:
            subject = names.task(self.id, lane, self.route)
            try:
                what = f"STREAM.INFO.{names.tasks(self.route)}"
                info = await self._broker.call(what, {"subjects_filter": subject})
            except BrokerError:
                return None
            counts[lane] = (info["state"].get("subjects") or {}).get(subject, 0)
        return counts

    def _event(self, kind: str, job: Job | None = None) -> Event:
        event = Event(kind, self.id, clock.now_ms())
        if job is not None:
            event.task_id, event.lane = job.task.task_id, job.task.lane
            event.command_type = job.task.command_type
            event.worker_id = HERE
        return event

    def _tell(self, event: Event, world: bool = True) -> None:
        if world:
            self._broker.emit(event)  # and it comes back to our own listeners
        else:
            self._show(event)

    def _show(self, event: Event) -> None:
        for queue in self._listeners:
            _put(queue, event)

    async def _on_event(self, message: Msg) -> None:
        with contextlib.suppress(MalformedError):
            self._show(Event.read(Encoding.JSON.decode(message.data)))

    async def _on_done(self, message: Msg) -> None:
        job = self._jobs.get(message.subject.rpartition(".")[2])
        if job is None or job.heard.done():
            return
        try:
            result = await read_result(self._broker, message.headers or {}, message.data)
        except (BrokerError, MalformedError) as error:
            log.warning("the result of task %s cannot be read: %s", job.task.task_id, error)
            return
        if not job.heard.done():
            job.heard.set_result(result)

    async def _on_record(self, message: Msg) -> None:
        """Another process paused or resumed the session, or cancelled all that waits."""
        try:
            record = SessionRecord.read(Encoding.JSON.decode(message.data))
        except MalformedError:
            return
        self._paused = record.state == "paused"
        for lane in LANES:
            for job in list(self._waiting[lane]):
                if job.submitted_ms < record.cancelled_before_ms:
                    self._cancel_here(job, "all tasks of its session were cancelled")
            self._pump(lane)

    def _look_for_all(self) -> None:
        for job in self._jobs.values():
            job.look.set()

    async def _idle_within(self, seconds: float) -> bool:
        pending = [job.result for job in self._jobs.values()]
        if pending:
            await asyncio.wait(pending, timeout=seconds)
        return not self._jobs


def _answer(job: Job, work: "asyncio.Future[Any]", started: int) -> TaskResult:
    if work.cancelled() or work.exception() is not None:
        return job.was_cancelled("it was stopped")
    verdict = work.result()
    if not isinstance(verdict, ExternalTaskResult):
        verdict = ExternalTaskResult(False, {}, str(verdict))
    return job.answer(verdict, started)


def _put(queue: "asyncio.Queue[Event | None]", event: Event | None) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(event)
