"""How a task leaves a worker: stored, buried, or handed back, and only then acknowledged."""

import asyncio
import json
from dataclasses import replace
from typing import Any

from . import answers
from .broker import Broker, BrokerError, ConflictError
from .broker.blobs import remove_blob
from .broker.broker import log
from .broker.kept import bury, has_result, publish_result, write_record
from .delivery import DONE, Delivery, again
from .judge import Again, Answer, Bury, HandBack, Job, Settlement, Withhold
from .lease import Lease
from .wire import clock
from .wire.encoding import Encoding
from .wire.note import Event
from .wire.record import AttemptNote, TaskRecord
from .wire.result import ExternalTaskResult, Outcome, TaskResult
from .wire.signature import SIGNATURE

REPEAT_AFTER = 0.5
"""Seconds before a step that the broker did not confirm is repeated."""

SHOWN_PAYLOAD = 16 * 1024
"""Payloads above this many bytes are not shown in a dead letter (its body still has them)."""

_ENDS = {
    Outcome.COMPLETED: "completed",
    Outcome.TIMED_OUT: "timeout",
    Outcome.DEAD_LETTERED: "dead_lettered",
}


class Settler:
    """Settles the tasks of one worker. `done` counts the results that it stored."""

    def __init__(self, broker: Broker, worker_id: str) -> None:
        self._broker = broker
        self.worker_id = worker_id
        self.done = 0

    async def settle(
        self, delivery: Delivery, lease: Lease, job: Job, settlement: Settlement
    ) -> None:
        """Carries a settlement out. What the broker does not confirm is repeated while the lease
        is ours; then the task is left to its redelivery."""
        if isinstance(settlement, Withhold):
            log.warning("task %s was left to its redelivery", job.task.task_id)
            return
        await self._while_held(
            lease, job.task.task_id, lambda: self._step(delivery, job, settlement)
        )

    async def bury_unreadable(self, delivery: Delivery, lease: Lease, reason: str) -> None:
        """A body that makes no sense now never will: it is kept with the reason, and whoever
        waits gets a failed result. One that is gone because the task has ended is no loss."""
        stored = delivery.stored
        task_id, error = stored.fallback_id(), f"the task cannot be read: {reason}"
        may_have_ended = delivery.delivered > 1 or stored.headers.blob is not None
        if may_have_ended and await self._has_ended(delivery):
            await delivery.answer(DONE)
            return
        letter = stored.dead_letter(task_id, error)
        said = answers.given_up(error)
        address = stored.address
        result = TaskResult(
            task_id, address.session, address.lane, "", **vars(said), worker_id=self.worker_id
        )
        encoding = Encoding.of(stored.headers.content_type, stored.body)

        async def step() -> None:
            await bury(self._broker, letter)
            signature = stored.raw_headers.get(SIGNATURE)
            if await publish_result(self._broker, result, encoding, signature):
                self._tell(
                    Event(
                        "dead_lettered", address.session, 0, task_id, address.lane, error=said.error
                    )
                )
            await delivery.answer(DONE)

        log.warning("task %s was buried: %s", task_id, error)
        await self._while_held(lease, task_id, step)

    async def _has_ended(self, delivery: Delivery) -> bool:
        session = delivery.stored.address.session
        try:
            return await has_result(self._broker, session, delivery.stored.fallback_id())
        except BrokerError:
            return False

    async def give_back_unread(self, delivery: Delivery) -> None:
        """Has a task delivered again that cannot even be read; whoever starts it buries it."""
        await delivery.answer(again(0))

    def tell_started(self, job: Job) -> None:
        """Tells the world that a tool starts."""
        self._tell(self._event("started", job))

    async def _while_held(self, lease: Lease, task_id: str, step: Any) -> None:
        this = asyncio.current_task()
        assert this is not None, "it is run by a task of the event loop"
        # What is said after the lease is over could take the task from its next worker.
        lease.on_lost(this.cancel)
        while lease.is_held():
            try:
                await step()
                return
            except ConflictError as error:
                log.warning("somebody else has task %s: %s", task_id, error)
                return
            except BrokerError as error:
                log.warning("task %s is not settled yet: %s", task_id, error)
                await asyncio.sleep(REPEAT_AFTER)
            except asyncio.CancelledError:
                if lease.is_held():
                    raise
        log.warning("the lease of task %s was lost before it was settled", task_id)

    async def _step(self, delivery: Delivery, job: Job, settlement: Settlement) -> None:
        if isinstance(settlement, Again):
            await self._note_attempt(job, settlement.error)
            event = self._event("retry", job, error=settlement.error)
            self._tell(replace(event, delay_ms=int(settlement.delay_ms)))
            await delivery.answer(again(settlement.delay_ms))
            return
        if isinstance(settlement, HandBack):
            # A claim that is there is somebody else's, and stays: what is handed back was not
            # started by us, or is idempotent and has none.
            record = replace(job.record, handed_back=job.record.handed_back + 1)
            await self._write(job, record)
            await delivery.answer(again(0))
            return
        if isinstance(settlement, Bury):
            await bury(self._broker, self._letter(delivery, job, settlement.error))
            await self._store(job, answers.given_up(settlement.error))
        elif isinstance(settlement, Answer):
            await self._store(job, settlement.result)
        heard = await delivery.answer(DONE)
        # A dead letter needs its body for the replay, and a task that may be delivered again needs
        # it to be read.
        blob = delivery.stored.headers.blob
        if blob and heard and not isinstance(settlement, Bury):
            await self._remove_body(blob)

    async def _store(self, job: Job, said: ExternalTaskResult) -> None:
        result = self._result(job, said)
        try:
            stored = await publish_result(self._broker, result, job.encoding, job.signature)
        except (TypeError, ValueError, OverflowError) as error:
            result = self._result(job, answers.unwritable(error))
            stored = await publish_result(self._broker, result, job.encoding, job.signature)
        if not stored:
            log.info("the result of task %s was there already", result.task_id)
            return
        self.done += 1
        event = self._event(_ENDS.get(result.outcome, "failed"), job, error=result.error)
        self._tell(replace(event, attempt=result.attempt, duration_ms=result.duration_ms))

    def _result(self, job: Job, said: ExternalTaskResult) -> TaskResult:
        task, started = job.task, job.started_at_ms
        return TaskResult(
            task.task_id,
            task.session_id,
            task.lane,
            task.command_type,
            **vars(said),
            attempt=job.attempt,
            worker_id=self.worker_id,
            started_at_ms=started,
            duration_ms=max(0, clock.now_ms() - started) if started else 0,
        )

    async def _note_attempt(self, job: Job, error: str) -> None:
        note = AttemptNote(job.attempt, self.worker_id, clock.now_ms(), error)
        notes = job.record.attempts
        # A repeated step has noted it already.
        if not notes or notes[-1].attempt != job.attempt:
            notes = [*notes, note]
        await self._write(job, replace(job.record, claim=None, attempts=notes))

    async def _write(self, job: Job, record: TaskRecord) -> None:
        task = job.task
        job.revision = await write_record(
            self._broker, task.session_id, task.task_id, record, job.revision, task.deadline_ms
        )
        job.record = record

    async def _remove_body(self, name: str) -> None:
        try:
            await remove_blob(self._broker, name)
        except BrokerError as error:
            log.debug("a body stays until its time is over: %s", error)

    def _letter(self, delivery: Delivery, job: Job, error: str) -> dict[str, Any]:
        # An attempt that is over before this one is known by its number alone.
        before = min(job.retry.max_attempts, delivery.delivered - 1)
        return {
            **delivery.stored.dead_letter(job.task.task_id, error),
            "command_type": job.task.command_type,
            "attempts": max(job.attempt, before),
            "history": [vars(note) for note in job.record.attempts],
            "payload": _shown(job.task.payload),
        }

    def _event(self, kind: str, job: Job, error: str | None = None) -> Event:
        task = job.task
        return Event(
            kind,
            task.session_id,
            0,
            task.task_id,
            task.lane,
            task.command_type,
            job.attempt,
            error=error,
        )

    def _tell(self, event: Event) -> None:
        event.kind = f"queue.command.{event.kind}"
        event.time_ms = clock.now_ms()
        event.worker_id = self.worker_id
        self._broker.emit(event)


def _shown(payload: Any) -> Any:
    try:
        return payload if len(json.dumps(payload)) <= SHOWN_PAYLOAD else None
    except (TypeError, ValueError):
        return None
