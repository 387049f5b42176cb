"""Workers and callers of A3S sessions over NATS JetStream: a pure client of docs/wire.md.

* `Worker` runs tasks with your functions. `tool` says what they may answer.
* `Session` submits tasks and gets their results and events.

How it is made, in the order of a task's life: `pulls` decides what to ask the broker, `puller`
does it, `delivery` is what comes, `executor` checks and runs it, `judge` says what is to be done,
`settle` does that. `wire` is what messages look like, `broker` where they are.
"""

from .broker import (
    BrokerError,
    ConflictError,
    ConnectOptions,
    DeniedError,
    MissingError,
    RefusedError,
    UnconfirmedError,
)
from .command import SessionCommand, SessionQueueConfig, Task
from .job import SubmitError, TaskHandle
from .session import Session
from .shell import run_shell
from .stats import MetricsSnapshot, SessionQueueStats
from .tool import Reject, Retry, RetryAfter, ToolError
from .wire.encoding import Encoding
from .wire.lane import Effect, SessionLane
from .wire.note import DeadLetter, Event, LaneHandlerConfig
from .wire.result import ExternalTaskResult, Outcome, TaskResult
from .wire.retry import RetryPolicy
from .wire.task import ExternalTask
from .worker import Worker

__all__ = [
    "BrokerError",
    "ConflictError",
    "ConnectOptions",
    "DeadLetter",
    "DeniedError",
    "Effect",
    "Encoding",
    "Event",
    "ExternalTask",
    "ExternalTaskResult",
    "LaneHandlerConfig",
    "MetricsSnapshot",
    "MissingError",
    "Outcome",
    "RefusedError",
    "Reject",
    "Retry",
    "RetryAfter",
    "RetryPolicy",
    "Session",
    "SessionCommand",
    "SessionLane",
    "SessionQueueConfig",
    "SessionQueueStats",
    "SubmitError",
    "Task",
    "TaskHandle",
    "TaskResult",
    "ToolError",
    "UnconfirmedError",
    "Worker",
    "run_shell",
]
