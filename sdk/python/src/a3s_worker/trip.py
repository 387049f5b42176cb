"""A task's way to a worker and back: publish it, wait for its result, and settle it when none
comes.

The result arrives by the session's subscription, fast. What that can miss (a reconnect, a restart
of the broker) is found by asking: on every reconnect, and every few seconds for what takes long.
When the deadline has passed and nobody has answered, this process answers itself. The broker keeps
the first result only, so whatever is stored is the outcome.
"""

import asyncio
import contextlib
from typing import Any

from .broker import Broker, BrokerError, ConflictError, UnconfirmedError
from .broker.blobs import BLOB_THRESHOLD, put_blob, remove_blob
from .broker.broker import PubAck, log
from .broker.kept import find_result, publish_result
from .job import Job, SubmitError
from .wire import task as wire
from .wire.encoding import Encoding, MalformedError
from .wire.names import Route
from .wire.result import TaskResult
from .wire.signature import SIGNATURE, body_digest, task_form

DEADLINE_GRACE = 2.0
"""Seconds after a deadline in which a worker may still answer."""
CANCEL_GRACE = 2.0
"""Seconds that a worker has to answer for a cancelled task."""
LOOK_EVERY = 5.0
"""Seconds between two looks for the result of a task that takes long."""
REPEAT_AFTER = 0.25
"""Seconds before a publish that got no answer is repeated with the same id."""


class Trip:
    """One task's way. `told` is called when the broker has accepted it."""

    def __init__(self, broker: Broker, route: Route, encoding: Encoding, job: Job) -> None:
        self._broker = broker
        self._route = route
        self._encoding = encoding
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._settle_at = self._loop.time() + job.task.remaining_ms() / 1000 + DEADLINE_GRACE
        self._accepted: PubAck | None = None
        self._blob: str | None = None
        self.settled_here = False

    async def publish(self) -> bool:
        """Publishes the task. A publish without an answer is repeated under the same id, which
        the broker stores once. True: it is accepted; False: nobody knows, and its outcome is what
        the broker will have. Raises SubmitError."""
        task = self._job.task
        try:
            body = self._encoding.encode(task.body())
            headers = self._headers()
            if len(body) > BLOB_THRESHOLD:
                self._blob = await put_blob(self._broker, body, task.task_id)
                headers[wire.BLOB], body = self._blob, b""
            subject = self._broker.names.task(task.session_id, task.lane, self._route)
            self._sign(subject, body, headers)
            self._job.publishing = True
            while not task.is_timed_out():
                try:
                    self._accepted = await self._broker.publish(subject, body, headers)
                    if self._accepted.duplicate:
                        self._job.look.set()  # it may have its result already
                    return True
                except UnconfirmedError:
                    await asyncio.sleep(REPEAT_AFTER)
        except (BrokerError, TypeError, ValueError, OverflowError) as error:
            raise SubmitError(f"task {task.task_id} was not accepted: {error}") from error
        return False

    async def wait(self) -> TaskResult:
        """Waits for the result, however it comes. Raises BrokerError when there is none and the
        broker does not answer either."""
        job, look_at = self._job, self._loop.time() + LOOK_EVERY
        while True:
            until = min(look_at, self._settle_at) - self._loop.time()
            looking = asyncio.ensure_future(job.look.wait())
            waited: set[asyncio.Future[Any]] = {job.heard, looking}
            waited |= set() if job.cancel.done() else {job.cancel}
            await asyncio.wait(waited, timeout=max(until, 0), return_when=asyncio.FIRST_COMPLETED)
            looking.cancel()
            if job.heard.done():
                return job.heard.result()
            if job.cancel.done():
                self._settle_at = min(self._settle_at, self._loop.time() + CANCEL_GRACE)
            if self._loop.time() >= self._settle_at:
                return await self._settle()
            if job.look.is_set() or self._loop.time() >= look_at:
                job.look.clear()
                look_at = self._loop.time() + LOOK_EVERY
                if found := await self.find():
                    return found

    async def find(self) -> TaskResult | None:
        """The result that the broker has, if it has one and answers."""
        task = self._job.task
        with contextlib.suppress(BrokerError, MalformedError):
            return await find_result(self._broker, task.session_id, task.task_id, self._job.answers)
        return None

    def _sign(self, subject: str, body: bytes, headers: dict[str, str]) -> None:
        task, key = self._job.task, self._broker.signatures.key
        if key is None:
            return
        digest = body_digest(body, headers)
        form = task_form(
            subject,
            task.session_id,
            task.task_id,
            task.lane,
            task.command_type,
            digest,
            headers,
        )
        headers.update(key.headers(form))
        self._job.signature = headers[SIGNATURE]

    def _headers(self) -> dict[str, str]:
        job, task = self._job, self._job.task
        return {
            wire.MESSAGE_ID: f"{task.session_id}.{task.task_id}",
            wire.REPLY_TO: self._broker.names.of_task(task.session_id, "result", task.task_id),
            wire.DEADLINE: str(task.deadline_ms),
            wire.MAX_ATTEMPTS: str(job.retry.max_attempts),
            wire.RETRY_DELAY: str(job.retry),
            wire.EFFECT: task.effect.value,
            wire.CONTENT_TYPE: self._encoding.content_type,
        }

    async def _settle(self) -> TaskResult:
        """Answers for the workers. Whatever the broker then has is the outcome."""
        job = self._job
        if job.cancel.done():
            own = job.was_cancelled(job.cancel.result())
        else:
            own = job.timed_out("and no worker answered")
        signature = self._job.signature
        self.settled_here = await publish_result(self._broker, own, self._encoding, signature)
        await self._take_back()
        return own if self.settled_here else await self.find() or own

    async def _take_back(self) -> None:
        """The task must not start any more. When this fails, the worker that gets it finds it past
        its deadline or cancelled, and the result stored."""
        try:
            if self._accepted:
                await self._broker.remove(self._accepted.stream, self._accepted.sequence)
            if self._blob:
                await remove_blob(self._broker, self._blob)
        except (BrokerError, ConflictError) as error:
            log.debug("a settled task was not removed: %s", error)
