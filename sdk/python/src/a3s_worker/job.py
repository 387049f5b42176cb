"""A task on its way through a session, and the handle that its caller has."""

import asyncio
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from .command import Command, Task
from .wire import clock
from .wire.lane import SessionLane
from .wire.result import ExternalTaskResult, TaskResult
from .wire.retry import RetryPolicy
from .wire.task import ExternalTask

HERE = "coordinator"
"""The worker's name in results that no worker gave."""


class SubmitError(Exception):
    """A task that was not accepted: it will never run."""


class TaskHandle:
    """A submitted task. `await handle` waits for its result: a `TaskResult`, also when the task
    failed. Raises SubmitError when it was never accepted."""

    def __init__(
        self, task_id: str, lane: SessionLane, result: "asyncio.Future[TaskResult]"
    ) -> None:
        self.task_id = task_id
        self.lane = lane
        self._result = result

    def done(self) -> bool:
        """Whether the task has ended."""
        return self._result.done()

    def __await__(self) -> Generator[Any, None, TaskResult]:
        # Whoever stops waiting does not end the task; `Session.cancel` does.
        return asyncio.shield(self._result).__await__()


def _future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


@dataclass
class Job:
    """A task with what its session knows of it. `mode` is captured when it was submitted.

    result: what its caller waits for. heard: its result, from wherever it came. cancel: why it
    must end, when it must. look: it is time to look for its result. timer: its deadline while it
    waits. publishing: a worker may know of it. signature: that of its message, where it is signed.
    """

    task: ExternalTask
    said: Task
    command: Command
    mode: str
    retry: RetryPolicy
    submitted_ms: int = field(default_factory=clock.now_ms)
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    result: "asyncio.Future[TaskResult]" = field(default_factory=_future)
    heard: "asyncio.Future[TaskResult]" = field(default_factory=_future)
    cancel: "asyncio.Future[str]" = field(default_factory=_future)
    look: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None
    publishing: bool = False
    signature: str | None = None

    @property
    def answers(self) -> str | None:
        """What its result must name, where results are checked. Under an id of the caller's own an
        earlier task may have been answered, and that counts as always."""
        return self.signature if self.said.id is None else None

    def fail(self, error: Exception) -> None:
        """It has no result and will have none."""
        if not self.result.done():
            self.result.set_exception(error)
            self.result.exception()  # nobody may be waiting, and that is no fault

    def answer(self, said: ExternalTaskResult, started_at_ms: int = 0) -> TaskResult:
        """A result that this process gives itself."""
        task = self.task
        return TaskResult(
            task.task_id,
            task.session_id,
            task.lane,
            task.command_type,
            **vars(said),
            attempt=1 if started_at_ms else 0,
            worker_id=HERE,
            started_at_ms=started_at_ms,
            duration_ms=clock.now_ms() - started_at_ms if started_at_ms else 0,
        )

    def timed_out(self, where: str) -> TaskResult:
        """It has no time left."""
        error = f"timed out after {self.task.timeout_ms} ms, {where}"
        return self.answer(ExternalTaskResult(False, {}, error, "timed_out"))

    def was_cancelled(self, reason: str) -> TaskResult:
        """Somebody wanted its end."""
        return self.answer(ExternalTaskResult(False, {}, reason, "cancelled"))
