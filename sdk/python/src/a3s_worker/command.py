"""What a session runs, and how a session is set up."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from .wire.lane import LANES, Effect, SessionLane
from .wire.note import LaneHandlerConfig
from .wire.retry import RetryPolicy
from .wire.token import check_token


@dataclass(frozen=True)
class Task:
    """A command for a tool that a worker has.

    timeout_ms: from submit to result; default: the lane's. effect: whether a worker may start it
    again after a crash; default: the lane's. retry: how often workers try it; default: the
    session's, else the lane's. id: unique in its session; default: a new one.
    """

    command_type: str
    payload: Any = field(default_factory=dict)
    timeout_ms: int | None = None
    effect: Effect | None = None
    retry: RetryPolicy | None = None
    id: str | None = None


@runtime_checkable
class SessionCommand(Protocol):
    """Something that a session can run itself, in a lane whose mode is `Internal` or `Hybrid`.
    `execute` may be async or plain; what it returns is the result, what it raises the error."""

    command_type: str
    payload: Any

    def execute(self) -> Any:
        """Runs it in this process."""


Command = Task | SessionCommand


def as_task(command: Command) -> Task:
    """What a worker would be told of a command. Raises ValueError."""
    task = command if isinstance(command, Task) else Task(command.command_type, command.payload)
    if task.id is not None:
        check_token("task id", task.id)
    if task.timeout_ms is not None and task.timeout_ms < 1:
        raise ValueError(f"timeout_ms is {task.timeout_ms}: a task needs a millisecond at least")
    return task


@dataclass(frozen=True)
class SessionQueueConfig:
    """How a session queues and reports. `*_max_concurrency`: tasks of a lane that are queued or
    run at a time. dlq_max_size: how many of the newest dead letters are listed."""

    control_max_concurrency: int = 2
    query_max_concurrency: int = 4
    execute_max_concurrency: int = 2
    generate_max_concurrency: int = 1
    lane_handlers: dict[SessionLane, LaneHandlerConfig] = field(default_factory=dict)
    default_timeout_ms: int = 60_000
    dlq_max_size: int = 1_000
    enable_metrics: bool = False
    retry_policy: RetryPolicy | None = None

    def __post_init__(self) -> None:
        numbers = {lane.id: self.max_concurrency(lane) for lane in LANES}
        numbers |= {"timeout": self.default_timeout_ms, "dlq_max_size": self.dlq_max_size}
        for name, value in numbers.items():
            if value < 1:
                raise ValueError(f"{name} is {value}: it must be at least 1")

    def max_concurrency(self, lane: SessionLane) -> int:
        """The cap of a lane."""
        return int(getattr(self, f"{lane.id}_max_concurrency"))

    def handler(self, lane: SessionLane) -> LaneHandlerConfig:
        """Who handles a lane."""
        default = LaneHandlerConfig(timeout_ms=self.default_timeout_ms)
        return self.lane_handlers.get(lane, default)

    def with_external_lanes(self) -> "SessionQueueConfig":
        """Sends every lane to workers."""
        handlers = {lane: replace(self.handler(lane), mode="External") for lane in LANES}
        return replace(self, lane_handlers=handlers)
