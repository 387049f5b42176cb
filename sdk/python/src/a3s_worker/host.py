"""External tasks that the host of this process pulls and completes itself. A task is leased to one
puller, so that two never get the same one."""

from .job import Job
from .wire.lane import Effect
from .wire.task import ExternalTask

LEASE = 30.0
"""Seconds that a puller has a task that may be started again, before another one gets it."""


class HostTasks:
    """Tasks that the host may run. `pulls`: whether it has ever asked for any."""

    def __init__(self) -> None:
        self.pulls = False
        self._offered: dict[str, tuple[Job, float]] = {}

    def offer(self, job: Job) -> None:
        """The host may run this task."""
        self._offered[job.task.task_id] = (job, 0.0)

    def withdraw(self, task_id: str) -> Job | None:
        """The task is no longer the host's; None when it was not."""
        job, _ = self._offered.pop(task_id, (None, 0.0))
        return job

    def lease(self, now: float) -> list[ExternalTask]:
        """Every task that nobody has. One that may start once is given out once."""
        self.pulls = True
        leased = []
        for task_id, (job, until) in self._offered.items():
            if until <= now:
                once = job.task.effect is Effect.ONCE
                self._offered[task_id] = (job, float("inf") if once else now + LEASE)
                leased.append(job.task)
        return leased
