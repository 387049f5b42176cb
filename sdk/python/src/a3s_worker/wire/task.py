"""A task: as its message says it, and as a tool sees it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import clock
from .encoding import Encoding
from .fields import anything, integer, lane, optional, read_map, required, text
from .lane import Effect, SessionLane
from .retry import NO_RETRY, RetryPolicy, parse_number, read_retry

MESSAGE_ID = "Nats-Msg-Id"
REPLY_TO = "A3s-Reply-To"
DEADLINE = "A3s-Deadline"
MAX_ATTEMPTS = "A3s-Max-Attempts"
RETRY_DELAY = "A3s-Retry-Delay"
EFFECT = "A3s-Effect"
CONTENT_TYPE = "Content-Type"
TRACEPARENT = "traceparent"
BLOB = "A3s-Blob"
WORKSPACE = "A3s-Workspace"

DEFAULT_TIMEOUT_MS = 60_000

TASK_BODY = (
    optional("task_id", text, "taskId", "id"),
    optional("session_id", text, "sessionId"),
    optional("lane", lane),
    required("command_type", text, "commandType"),
    optional("payload", anything),
    optional("timeout_ms", integer, "timeoutMs"),
)

_OTHER_NAMES = {
    "id": "task_id",
    "taskId": "task_id",
    "sessionId": "session_id",
    "commandType": "command_type",
    "timeoutMs": "timeout_ms",
    "deadlineMs": "deadline_ms",
    "remainingMs": "remaining_ms",
    "isTimedOut": "is_timed_out",
    "isStopped": "is_stopped",
}


@dataclass
class ExternalTask:
    """A task, as its tool sees it. Every field can be had as an attribute and as an item, in
    snake and in camel case: `task.task_id`, `task.taskId`, `task["id"]`.

    payload: the tool's input. timeout_ms: from submit to result. deadline_ms: when its time is
    over, on the broker's clock. attempt: from 1. effect: whether it may be started again after a
    crash.
    """

    task_id: str
    session_id: str
    lane: SessionLane
    command_type: str
    payload: Any
    timeout_ms: int
    deadline_ms: int
    attempt: int = 1
    effect: Effect = Effect.IDEMPOTENT
    traceparent: str | None = None
    _show: Callable[[bytes], None] | None = None
    _stopped: Callable[[], str | None] | None = None

    def remaining_ms(self) -> int:
        """Milliseconds until the deadline; 0 when it has passed."""
        return max(0, self.deadline_ms - clock.now_ms())

    def is_timed_out(self) -> bool:
        """Whether the deadline has passed."""
        return self.remaining_ms() == 0

    def is_stopped(self) -> bool:
        """Whether the tool must stop; for loops in threads, which cannot be cancelled."""
        return self._stopped is not None and self._stopped() is not None

    def progress(self, output: str | bytes) -> None:
        """Shows a piece of output to whoever watches the task now. Never waits; what nobody can
        take in time is dropped. May be called from any thread."""
        if self._show:
            self._show(output.encode() if isinstance(output, str) else output)

    def body(self) -> dict[str, Any]:
        """The task as a map."""
        names = ("task_id", "session_id", "lane", "command_type", "payload", "timeout_ms")
        return {**{name: getattr(self, name) for name in names}, "lane": self.lane.value}

    def get(self, name: str, default: Any = None) -> Any:
        """The field `name`, or `default` when a task has no such field."""
        try:
            return self[name]
        except KeyError:
            return default

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _OTHER_NAMES.get(name, name) in vars(self)

    def __getitem__(self, name: str) -> Any:
        if name.startswith("_") or name not in self:
            raise KeyError(name)
        return getattr(self, _OTHER_NAMES.get(name, name))

    def __getattr__(self, name: str) -> Any:
        if name in _OTHER_NAMES:
            return getattr(self, _OTHER_NAMES[name])
        raise AttributeError(f"a task has no field {name!r}")


@dataclass
class TaskHeaders:
    """What the headers of a task's message say; None where one is missing or unreadable."""

    reply_to: str | None = None
    deadline_ms: int | None = None
    retry: RetryPolicy | None = None
    effect: Effect | None = None
    content_type: str | None = None
    traceparent: str | None = None
    blob: str | None = None
    workspace: str | None = None

    @classmethod
    def read(cls, headers: Mapping[str, str]) -> "TaskHeaders":
        """From the headers of a message."""
        get = headers.get
        effect = get(EFFECT)
        return cls(
            reply_to=get(REPLY_TO),
            deadline_ms=parse_number(get(DEADLINE)),
            retry=read_retry(get(MAX_ATTEMPTS), get(RETRY_DELAY)),
            effect=Effect(effect) if effect in ("idempotent", "once") else None,
            content_type=get(CONTENT_TYPE),
            traceparent=get(TRACEPARENT),
            blob=get(BLOB),
            workspace=get(WORKSPACE),
        )

    def effect_in(self, lane: SessionLane) -> Effect:
        """Whether the task may be started again after a crash."""
        return self.effect or lane.default_effect

    def retry_in(self, lane: SessionLane) -> RetryPolicy:
        """How often the task may be tried."""
        once = self.effect_in(lane) is Effect.ONCE
        return self.retry or (NO_RETRY if once else RetryPolicy())


def read_task_body(encoding: Encoding, body: bytes) -> dict[str, Any]:
    """The fields of a task's body. Raises MalformedError."""
    return read_map(TASK_BODY, encoding.decode(body))
