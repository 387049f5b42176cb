"""A task's way through a worker: checked, claimed, run, its result stored, then acknowledged.

The order is what makes it safe. Every check comes before the tool sees the payload; the result is
stored before the task is acknowledged, so a crash in between repeats the delivery, and whoever
gets it finds the result and only acknowledges.
"""

import asyncio
import random
from collections.abc import Mapping

from . import answers
from .broker import Broker, BrokerError
from .broker.blobs import get_blob
from .broker.broker import log
from .broker.kept import find_marker, has_result, read_record, write_record
from .cancels import Cancels
from .delivery import Delivery
from .judge import (
    Acknowledge,
    Answer,
    HandBack,
    Job,
    Settlement,
    Withhold,
    attempt_of,
    conclude,
    judge,
)
from .lease import Lease
from .progress import show_output
from .settle import Settler
from .slots import Slot
from .tool import STOP_GRACE, Handler, Verdict, call
from .trust import UntrustedError, may_be_a_copy
from .wire import clock
from .wire.encoding import MalformedError
from .wire.lane import Effect
from .wire.record import Claim
from .wire.result import ExternalTaskResult
from .wire.signature import SIGNATURE


class Run:
    """One run of a tool: why it must stop, if it must. The first reason counts."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self.stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def stop(self, reason: str) -> None:
        """Asks the tool to stop."""
        if self.reason is None:
            self.reason = reason
            if not self.stopped.done():
                self.stopped.set_result(None)


class Executor:
    """What every run shares; one a worker. `ack_wait` in seconds."""

    def __init__(
        self,
        broker: Broker,
        settler: Settler,
        tools: Mapping[str, Handler],
        cancels: Cancels,
        ack_wait: float,
    ) -> None:
        self._broker = broker
        self._settler = settler
        self._tools = tools
        self._cancels = cancels
        self._ack_wait = ack_wait
        self._runs: set[Run] = set()

    def stop_all(self) -> None:
        """The worker stops: every running tool must end."""
        for run in list(self._runs):
            run.stop("shutdown")

    async def run(self, delivery: Delivery, slot: Slot) -> None:
        """Takes one delivery to its end. `slot` returns as soon as the tool has ended."""
        lease = Lease(delivery, self._ack_wait)
        try:
            job = await self._job(delivery)
            settlement = await self._examine(delivery, job) or await self._start(
                delivery, lease, job
            )
        except MalformedError as error:
            slot.give_back()
            await self._settler.bury_unreadable(delivery, lease, str(error))
        except BrokerError as error:
            log.warning("a task was left for later: %s", error)
        else:
            slot.give_back()
            await self._settler.settle(delivery, lease, job, settlement)
        finally:
            slot.give_back()
            lease.release()

    async def return_unstarted(self, delivery: Delivery) -> None:
        """A task that was received and not started goes to whoever has a free slot."""
        lease = Lease(delivery, self._ack_wait)
        try:
            job = await self._job(delivery)
            task = job.task
            job.record, job.revision = await read_record(
                self._broker, task.session_id, task.task_id
            )
            await self._settler.settle(delivery, lease, job, HandBack())
        except MalformedError:
            await self._settler.give_back_unread(delivery)
        except BrokerError as error:
            log.warning("a task was left to its redelivery: %s", error)
        finally:
            lease.release()

    async def _job(self, delivery: Delivery) -> Job:
        stored = delivery.stored
        blob = stored.headers.blob
        body = await get_blob(self._broker, blob) if blob else stored.body
        task, encoding = stored.task(body)
        retry, signature = stored.headers.retry_in(task.lane), stored.raw_headers.get(SIGNATURE)
        return Job(task, encoding, retry, signature=signature)

    async def _examine(self, delivery: Delivery, job: Job) -> Settlement | None:
        """What can be said of a task before its tool sees it; None: it is to be run. On a first
        delivery this costs no lookup."""
        key = (job.task.session_id, job.task.task_id)
        marker = self._cancels.marker(*key)
        signatures = self._broker.signatures
        checked = signatures.tasks is not None
        copied = checked and may_be_a_copy(delivery.stored.stored_at_ms, job.task)
        if delivery.delivered > 1 or copied:
            done, (job.record, job.revision), found = await asyncio.gather(
                has_result(self._broker, *key),
                read_record(self._broker, *key),
                find_marker(self._broker, *key),
            )
            if done:
                return Acknowledge()
            marker = marker or found
        if checked:
            try:
                signatures.check_task(delivery.stored, job.task)
            except UntrustedError as error:
                log.warning("task %s was refused: %s", job.task.task_id, error)
                return Answer(answers.refused(error))
        settlement = judge(job, delivery.delivered, marker)
        if settlement is None and job.task.command_type not in self._tools:
            tools = sorted(self._tools)
            return Answer(answers.unknown_command(job.task.command_type, tools))
        # Its paths mean files that are not here: it must not run among others.
        if settlement is None and delivery.stored.headers.workspace is not None:
            return Answer(answers.no_workspace())
        return settlement

    async def _start(self, delivery: Delivery, lease: Lease, job: Job) -> Settlement:
        task = job.task
        job.attempt = task.attempt = attempt_of(job, delivery.delivered)
        if task.effect is Effect.ONCE and not await self._claim(job):
            return Withhold()
        job.started_at_ms = clock.now_ms()
        self._settler.tell_started(job)
        verdict, reason = await self._run_tool(lease, job)
        if reason is None:
            silent = ExternalTaskResult(False, {}, "the tool cancelled itself", "other")
            return conclude(verdict or silent, job, random.random())
        if reason == "lease lost":
            return Withhold()
        if reason == "shutdown" and task.effect is Effect.IDEMPOTENT:
            return HandBack()
        partial = verdict.result if isinstance(verdict, ExternalTaskResult) else {}
        return Answer(answers.stopped(reason, task, partial))

    async def _claim(self, job: Job) -> bool:
        """Takes the right to start a `once` task."""
        task = job.task
        job.record.claim = Claim(self._settler.worker_id, job.attempt, clock.now_ms())
        key = (task.session_id, task.task_id)
        try:
            job.revision = await write_record(
                self._broker, *key, job.record, job.revision, task.deadline_ms
            )
        except BrokerError as error:
            # Our own write whose answer was lost looks the same. It did not start anything, but
            # nobody can tell, so the next delivery is answered by what the record says.
            log.warning("task %s could not be claimed: %s", task.task_id, error)
            return False
        return True

    async def _run_tool(self, lease: Lease, job: Job) -> tuple[Verdict | None, str | None]:
        task, run = job.task, Run()
        key = (task.session_id, task.task_id)
        task._show = show_output(self._broker, *key)
        task._stopped = lambda: run.reason
        loop = asyncio.get_running_loop()
        tool = loop.create_task(call(self._tools[task.command_type], task))
        deadline = loop.call_later(task.remaining_ms() / 1000, run.stop, "deadline")
        self._runs.add(run)
        lease.on_lost(lambda: run.stop("lease lost"))
        self._cancels.watch(*key, lambda: run.stop("cancelled"))
        try:
            await asyncio.wait((tool, run.stopped), return_when=asyncio.FIRST_COMPLETED)
            if tool.done():
                return _verdict(tool), None
            tool.cancel()
            await asyncio.wait((tool,), timeout=STOP_GRACE)
            return _verdict(tool), run.reason
        finally:
            deadline.cancel()
            self._runs.discard(run)
            self._cancels.unwatch(*key)
            lease.on_lost(lambda: None)


def _verdict(tool: "asyncio.Task[Verdict]") -> Verdict | None:
    """None: it did not end, or without a word."""
    if not tool.done() or tool.cancelled():
        return None
    if error := tool.exception():
        return ExternalTaskResult(False, {}, f"the tool ended with {error!r}", "other")
    return tool.result()
