"""What waits and what runs in a session: starts it in order, up to the caps, and tells how each
task ended."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine
from typing import Any

from nats.aio.msg import Msg

from .broker import Broker, BrokerError
from .broker.broker import StoredMessage, log
from .broker.follow import Follow
from .broker.kept import mark_cancelled, read_result
from .cancels import Cancels
from .command import Command, SessionQueueConfig, as_task
from .host import HostTasks
from .job import HERE, Job, SubmitError
from .listeners import Listeners
from .local import answer_or_end, run_here
from .stats import Metrics
from .tool import Handler
from .trip import Trip
from .wire import clock
from .wire.encoding import Encoding, MalformedError
from .wire.lane import LANES, Effect, SessionLane
from .wire.note import Event, SessionRecord
from .wire.result import Outcome, TaskResult
from .wire.retry import NO_RETRY, RetryPolicy
from .wire.task import ExternalTask
from .wire.token import unique_token

MAX_WAITING = 10_000
"""Tasks of a lane that wait in this process; then whoever submits waits for room."""

_ENDS = {
    Outcome.COMPLETED: "completed",
    Outcome.TIMED_OUT: "timeout",
    Outcome.DEAD_LETTERED: "dead_lettered",
}


class Core:
    """An open session. `jobs`: its tasks that have not ended, by id; `waiting`: those of them that
    have not started."""

    def __init__(
        self, broker: Broker, record: SessionRecord, config: SessionQueueConfig, encoding: Encoding
    ) -> None:
        self.broker = broker
        self.id = record.session_id
        self.route = record.route
        self.config = config
        self.handlers = {lane: config.handler(lane) for lane in LANES}
        self.external_handler: Handler | None = None
        self.jobs: dict[str, Job] = {}
        self.room = {lane: asyncio.Semaphore(MAX_WAITING) for lane in LANES}
        self.waiting: dict[SessionLane, deque[Job]] = {lane: deque() for lane in LANES}
        self.host = HostTasks()
        self.listeners = Listeners()
        self.metrics = Metrics()
        self.paused = record.state == "paused"
        self.closed = False
        self._encoding = encoding
        self._active: dict[SessionLane, int] = dict.fromkeys(LANES, 0)
        self._cancels = Cancels(broker, self.id)
        self._background: set[asyncio.Task[Any]] = set()

    async def listen(self) -> None:
        """Hears of results, events, cancels and the session's record from now on. Raises
        BrokerError."""
        names, subscribe = self.broker.names, self.broker.client.subscribe
        self._background.add(await self._cancels.start())
        bucket = names.bucket("sessions")
        record = Follow(self.broker, f"KV_{bucket}", f"$KV.{bucket}.{self.id}", self._on_record)
        await record.open()
        self._spawn(record.run())
        await subscribe(names.of_task(self.id, "done", "*"), cb=self._on_done)
        await subscribe(names.event(self.id, ">"), cb=self._on_event)
        # What is stored after this arrives.
        await self.broker.client.flush()
        self.broker.on_connected.append(self._look_for_all)

    async def submit(self, lane: SessionLane, command: Command) -> Job:
        """Puts a command at the end of a lane, when there is room. Raises SubmitError,
        ValueError."""
        job = self._job(lane, command)
        task = job.task
        if self.room[lane].locked():
            try:
                await asyncio.wait_for(self.room[lane].acquire(), task.remaining_ms() / 1000)
            except asyncio.TimeoutError:
                raise SubmitError(f"lane {lane.id} had no room for {task.timeout_ms} ms") from None
        else:
            await self.room[lane].acquire()  # at once
        if self.closed or task.task_id in self.jobs:
            self.room[lane].release()
            why = "the session was closed" if self.closed else "it is in use in this session"
            raise SubmitError(f"task id {task.task_id!r}: {why}")
        self.jobs[task.task_id] = job
        self.waiting[lane].append(job)
        self.metrics.submitted(lane)
        self._cancels.watch(self.id, task.task_id, lambda: self._stop(job, "cancelled"))
        loop = asyncio.get_running_loop()
        job.timer = loop.call_later(task.remaining_ms() / 1000, self._too_late, job)
        self.pump(lane)
        return job

    def pump(self, lane: SessionLane) -> None:
        """Starts what may start now. In an own lane the broker holds the cap."""
        waiting, cap = self.waiting[lane], self.config.max_concurrency(lane)
        if self.paused and lane is not SessionLane.CONTROL:
            return
        while waiting and (self._active[lane] < cap or self._goes_to_own(waiting[0])):
            job = waiting.popleft()
            self.room[lane].release()
            self._active[lane] += 1
            self._spawn(self._run(job))

    async def cancel(self, task_id: str, reason: str) -> bool:
        """Asks that a task end. False when this process has no such task. Raises BrokerError."""
        job = self.jobs.get(task_id)
        if job is not None:
            self._stop(job, reason)
        # A task that was never published is known to no worker.
        if job is None or job.publishing:
            deadline = job.task.deadline_ms if job else clock.now_ms()
            await mark_cancelled(self.broker, self.id, task_id, reason, deadline)
        return job is not None

    def cancel_waiting(self, reason: str, before_ms: int | None = None) -> None:
        """Ends what waits here; with `before_ms`, what was submitted before that time."""
        for waiting in self.waiting.values():
            for job in list(waiting):
                if before_ms is None or job.submitted_ms < before_ms:
                    self._stop(job, reason)

    async def is_idle_within(self, seconds: float) -> bool:
        """Whether every task has ended, or does within this time."""
        pending = [job.result for job in self.jobs.values()]
        if pending:
            await asyncio.wait(pending, timeout=seconds)
        return not self.jobs

    def running(self, lane: SessionLane) -> list[Job]:
        """Tasks of a lane that have started and not ended."""
        waiting = {id(job) for job in self.waiting[lane]}
        return [j for j in self.jobs.values() if j.task.lane is lane and id(j) not in waiting]

    def now(self) -> float:
        """The monotonic clock, in seconds."""
        return asyncio.get_running_loop().time()

    def tell(self, event: Event, world: bool = True) -> None:
        """Tells what happened: to everyone, or to our own listeners alone."""
        if world:
            self.broker.emit(event)  # and it comes back to our listeners
        else:
            self.listeners.show(event)

    def end(self) -> None:
        """Nothing happens any more."""
        self.listeners.show(None)
        for task in self._background:
            task.cancel()

    def _job(self, lane: SessionLane, command: Command) -> Job:
        said, handler = as_task(command), self.handlers[lane]
        timeout_ms = said.timeout_ms or handler.timeout_ms
        effect = said.effect or lane.default_effect
        task = ExternalTask(
            said.id or unique_token(),
            self.id,
            lane,
            said.command_type,
            said.payload,
            timeout_ms,
            clock.now_ms() + timeout_ms,
            effect=effect,
        )
        default = NO_RETRY if effect is Effect.ONCE else RetryPolicy()
        retry = said.retry or self.config.retry_policy or default
        return Job(task, said, command, handler.mode, retry)

    def _goes_to_own(self, job: Job) -> bool:
        here = self.external_handler is not None or self.host.pulls
        return self.route.is_own and job.mode == "External" and not here

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _run(self, job: Job) -> None:
        try:
            result, told = await self._outcome(job)
            self._conclude(job, result, told)
        except (SubmitError, BrokerError) as error:
            self._forget(job)
            job.fail(error)
        finally:
            self._active[job.task.lane] -= 1
            self.pump(job.task.lane)

    async def _outcome(self, job: Job) -> tuple[TaskResult, bool]:
        """A task's result, and whether somebody else has told the world of it."""
        if job.mode != "External":
            execute = getattr(job.command, "execute", None)
            self.tell(self.event("queue.command.started", job), world=job.mode == "Hybrid")
            return await run_here(job, execute and (lambda _: execute())), False
        if self.external_handler is not None:
            self.tell(self.event("queue.command.started", job))
            return await run_here(job, self.external_handler), False
        if self.host.pulls:
            self.host.offer(job)
            try:
                return await answer_or_end(job, "while the host had it"), False
            finally:
                self.host.withdraw(job.task.task_id)
        trip = Trip(self.broker, self.route, self._encoding, job)
        if job.said.id and (found := await trip.find()):
            return found, True
        if await trip.publish():
            self.tell(self.event("queue.command.submitted", job))
        result = await trip.wait()
        return result, not trip.settled_here

    def _too_late(self, job: Job) -> None:
        if job in self.waiting[job.task.lane]:
            self._leave_queue(job)
            self._conclude(job, job.timed_out("while it waited for its turn"), told=False)

    def _stop(self, job: Job, reason: str) -> None:
        """Ends a task as far as this process can."""
        if job in self.waiting[job.task.lane]:
            self._leave_queue(job)
            self._conclude(job, job.was_cancelled(reason), told=False)
        elif not job.cancel.done():
            job.cancel.set_result(reason)

    def _leave_queue(self, job: Job) -> None:
        self.waiting[job.task.lane].remove(job)
        self.room[job.task.lane].release()

    def _forget(self, job: Job) -> None:
        self.jobs.pop(job.task.task_id, None)
        self._cancels.unwatch(self.id, job.task.task_id)
        if job.timer is not None:
            job.timer.cancel()

    def _conclude(self, job: Job, result: TaskResult, told: bool) -> None:
        self._forget(job)
        seconds = asyncio.get_running_loop().time() - job.began
        self.metrics.ended(job.task.lane, result.outcome, seconds)
        if not told:
            event = self.event(f"queue.command.{_ENDS.get(result.outcome, 'failed')}", job)
            event.worker_id, event.attempt = result.worker_id, result.attempt
            event.duration_ms, event.error = result.duration_ms, result.error
            self.tell(event, world=job.mode != "Internal")
        if not job.result.done():
            job.result.set_result(result)

    def event(self, kind: str, job: Job | None = None) -> Event:
        """An event of the session, or of one of its tasks."""
        event = Event(kind, self.id, clock.now_ms())
        if job is not None:
            task = job.task
            event.task_id, event.lane, event.command_type = (
                task.task_id,
                task.lane,
                task.command_type,
            )
            event.worker_id = None if kind.endswith("submitted") else HERE
        return event

    async def _on_event(self, message: Msg) -> None:
        with contextlib.suppress(MalformedError):
            self.listeners.show(Event.read(Encoding.JSON.decode(message.data)))

    async def _on_done(self, message: Msg) -> None:
        job = self.jobs.get(message.subject.rpartition(".")[2])
        if job is None or job.heard.done():
            return
        try:
            place = (self.id, job.task.task_id)
            headers = message.headers or {}
            result = await read_result(self.broker, headers, message.data, place, job.answers)
        except (BrokerError, MalformedError) as error:
            log.warning("the result of task %s cannot be read: %s", job.task.task_id, error)
            return
        if not job.heard.done():
            job.heard.set_result(result)

    def _on_record(self, message: StoredMessage) -> None:
        """Another process paused or resumed the session, or cancelled all that waits."""
        try:
            record = SessionRecord.read(Encoding.JSON.decode(message.body))
        except MalformedError:
            return
        self.paused = record.state == "paused"
        self.cancel_waiting("all tasks of its session were cancelled", record.cancelled_before_ms)
        for lane in LANES:
            self.pump(lane)

    def _look_for_all(self) -> None:
        for job in self.jobs.values():
            job.look.set()
