"""A task's result, as hosts see it and as it is on the wire."""

from dataclasses import dataclass
from enum import Enum
from typing import Any

from .fields import anything, boolean, integer, lane, optional, read_map, required, text
from .lane import SessionLane

_KINDS = frozenset(
    (
        *("timed_out", "cancelled", "unknown", "dead_lettered"),
        *("unknown_command", "invalid_input", "refused", "other"),
    )
)


class Outcome(str, Enum):
    """How a task ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    DEAD_LETTERED = "dead_lettered"


def error_kind(value: Any) -> str:
    """A kind of error; a word that is not known is `other`."""
    return value if text(value) in _KINDS else "other"


@dataclass
class ExternalTaskResult:
    """What a tool answers.

    result: kept when `success` is false.
    error_kind: None when the tool itself ran and failed; else a word of docs/wire.md, such as
    `invalid_input`.
    """

    success: bool
    result: Any = None
    error: str | None = None
    error_kind: str | None = None


@dataclass
class TaskResult:
    """A result with everything that is known of it. Times are milliseconds."""

    task_id: str
    session_id: str
    lane: SessionLane
    command_type: str
    success: bool
    result: Any = None
    error: str | None = None
    error_kind: str | None = None
    attempt: int = 0
    worker_id: str = ""
    started_at_ms: int = 0
    duration_ms: int = 0

    @classmethod
    def read(cls, value: Any) -> "TaskResult":
        """Raises MalformedError."""
        return cls(**read_map(_RESULT, value))

    def write(self) -> dict[str, Any]:
        """The result as a map."""
        return {**vars(self), "lane": self.lane.value}

    @property
    def outcome(self) -> Outcome:
        """How the task ended."""
        if self.success:
            return Outcome.COMPLETED
        ends = ("timed_out", "cancelled", "unknown", "dead_lettered")
        return Outcome(self.error_kind) if self.error_kind in ends else Outcome.FAILED


_RESULT = (
    required("task_id", text, "taskId"),
    required("session_id", text, "sessionId"),
    required("lane", lane),
    optional("command_type", text, "commandType", default=""),
    required("success", boolean),
    optional("result", anything),
    optional("error", text),
    optional("error_kind", error_kind, "errorKind"),
    optional("attempt", integer, default=0),
    optional("worker_id", text, "workerId", default=""),
    optional("started_at_ms", integer, "startedAtMs", default=0),
    optional("duration_ms", integer, "durationMs", default=0),
)
